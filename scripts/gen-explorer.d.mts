export function withTable(document: string, table: string): string;
export function withStory(document: string, story: string): string;
export function explore(...args: string[]): string;

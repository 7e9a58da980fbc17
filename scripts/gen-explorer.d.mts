export function withTable(document: string, table: string): string;

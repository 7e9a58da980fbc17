export function outputOf(command: string): string;
export function blocks(readme: string): { command: string; output: string }[];

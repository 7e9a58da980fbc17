export const FOLL_WRITE = 1;
export const FOLL_TOUCH = 2;

// assembly/abi.ts is compiled by both compilers; these are the host's readings of the core's types.
declare type u32 = number;
declare type i32 = number;

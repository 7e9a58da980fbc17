// A plain model of the TLB: lists of translations in recency order, searched from the front. Written
// from the description of the geometry alone; it shares nothing with assembly/tlb/.

/** What a translation allows; `dirty` false: a write walks again to set D. */
export interface Rights {
  readonly user: boolean;
  readonly write: boolean;
  readonly exec: boolean;
  readonly dirty: boolean;
}

/** A translation of one page (size in 4 KiB pages: 1, 512 or 262144). */
export interface Entry extends Rights {
  readonly space: number;
  readonly page: number;
  readonly size: number;
  readonly global: boolean;
}

/** An access: kind 0 read, 1 write, 2 fetch. */
export interface ModelAccess {
  readonly vpn: number;
  readonly kind: number;
  readonly supervisor: boolean;
}

class SetAssociative {
  readonly #sets: Entry[][];
  readonly #ways: number;

  constructor(sets: number, ways: number) {
    this.#sets = Array.from({ length: sets }, () => []);
    this.#ways = ways;
  }

  #set(page: number): Entry[] {
    return this.#sets[page % this.#sets.length] as Entry[];
  }

  find(space: number, page: number, size: number): Entry | undefined {
    const set = this.#set(page);
    const at = set.findIndex(
      (e) => e.page === page && e.size === size && (e.global || e.space === space),
    );
    if (at < 0) return undefined;
    const [entry] = set.splice(at, 1) as [Entry];
    set.unshift(entry);
    return entry;
  }

  insert(entry: Entry): void {
    const set = this.#set(entry.page);
    set.unshift(entry);
    if (set.length > this.#ways) set.pop();
  }

  drop(which: (entry: Entry) => boolean): void {
    for (const set of this.#sets) {
      for (let i = set.length - 1; i >= 0; i--) {
        if (which(set[i] as Entry)) set.splice(i, 1);
      }
    }
  }
}

/** Counts of a run. */
export interface Counts {
  l1: number;
  l2: number;
  miss: number;
}

/** Two levels for small pages, one array for large ones. */
export class ModelTlb {
  readonly counts: Counts = { l1: 0, l2: 0, miss: 0 };
  readonly #l1: SetAssociative;
  readonly #l2: SetAssociative;
  readonly #large = new SetAssociative(8, 4);
  space = 0;

  constructor(l1Sets: number, l1Ways: number, l2Sets: number, l2Ways: number) {
    this.#l1 = new SetAssociative(l1Sets, l1Ways);
    this.#l2 = new SetAssociative(l2Sets, l2Ways);
  }

  #allowed(entry: Entry, access: ModelAccess): boolean {
    if (!access.supervisor && !entry.user) return false;
    if (access.kind === 1) return entry.write && entry.dirty;
    return access.kind === 2 ? entry.exec : true;
  }

  /** Translates an access; `walk` gives the translation after a miss, or undefined: a fault. */
  access(access: ModelAccess, walk: () => Entry | undefined): boolean {
    const { vpn } = access;
    const l1 = this.#l1.find(this.space, vpn, 1);
    if (l1 && this.#allowed(l1, access)) {
      this.counts.l1++;
      return true;
    }
    if (!l1) {
      const l2 = this.#l2.find(this.space, vpn, 1);
      if (l2 && this.#allowed(l2, access)) {
        this.counts.l2++;
        this.#l1.insert(l2);
        return true;
      }
      for (const size of l2 ? [] : [512, 262144]) {
        const entry = this.#large.find(this.space, Math.floor(vpn / size), size);
        if (!entry) continue;
        if (!this.#allowed(entry, access)) break;
        this.counts.l1++;
        return true;
      }
    }
    // An entry that denies the access goes, with every other translation of the page.
    this.flushPage(this.space, vpn);
    const entry = walk();
    if (!entry) return false;
    this.counts.miss++;
    if (entry.size === 1) {
      this.#l2.insert(entry);
      this.#l1.insert(entry);
    } else this.#large.insert(entry);
    return true;
  }

  #drop(which: (entry: Entry) => boolean): void {
    for (const array of [this.#l1, this.#l2, this.#large]) array.drop(which);
  }

  flushPage(space: number, vpn: number): void {
    this.#drop((e) => e.page === Math.floor(vpn / e.size) && (e.global || e.space === space));
  }

  flushSpace(space: number): void {
    this.#drop((e) => !e.global && e.space === space);
  }

  flushNonGlobal(): void {
    this.#drop((e) => !e.global);
  }

  flushAll(): void {
    this.#drop(() => true);
  }
}

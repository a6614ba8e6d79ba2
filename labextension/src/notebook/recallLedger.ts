/** What a page has asked a kernel to run, and what of it the notebook shows as a whole. */
export class Ledger {
  /** Cells of which anything was run. */
  get cells(): Iterable<string> {
    return this.places.values();
  }

  /** A cell was sent to the kernel: what it showed before is not wanted any longer. */
  begin(execution: string, cell: string): void {
    this.leave(cell);
    this.places.set(execution, cell);
  }

  /** What a cell shows is not wanted any longer, whole or not. */
  leave(cell: string): void {
    for (const [execution, place] of this.places) {
      if (place === cell) {
        this.doubts.delete(execution);
      }
    }
  }

  /** The end of an execution has come, and so has all before it if the connection held. */
  end(execution: string): void {
    if (this.places.has(execution) && !this.doubts.has(execution)) {
      this.whole.add(execution);
    }
  }

  /** Executions of which something may have been lost on the way, and their cells. */
  get doubtful(): ReadonlyMap<string, string> {
    return new Map([...this.places].filter(([id]) => this.doubts.has(id)));
  }

  /** The connection has broken: of what has not ended some may never come. */
  doubt(): void {
    const last = new Map([...this.places].map(([id, cell]) => [cell, id]));
    for (const execution of last.values()) {
      if (!this.whole.has(execution)) {
        this.doubts.add(execution);
      }
    }
  }

  /** The notebook shows all of an execution. */
  show(execution: string): void {
    this.doubts.delete(execution);
    this.whole.add(execution);
  }

  /** Executions are in the file. */
  forget(executions: readonly string[]): void {
    for (const each of executions) {
      if (this.whole.delete(each)) {
        this.places.delete(each);
      }
    }
  }

  /** Executions of which the notebook shows all. */
  readonly whole = new Set<string>();
  private readonly doubts = new Set<string>();
  private readonly places = new Map<string, string>();
}

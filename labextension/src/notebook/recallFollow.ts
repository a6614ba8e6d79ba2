import type { ICellModel, ICodeCellModel } from '@jupyterlab/cells';
import type { INotebookModel } from '@jupyterlab/notebook';
import { Signal } from '@lumino/signaling';

import { RecalledCell, restore } from './recallCell';
import type { INews, IRecord, RecallClient } from './recallClient';
import { keyOf } from './recallKey';

/** Between two attempts to reach a server that is away. */
const AGAIN_MILLISECONDS = 3000;

/** How often a cell is written where others may write, too. */
const MOST_TIMES = 3;

/** What is followed, and when it is drawn. */
export interface IManner {
  /** Executions that this page itself has sent, and their cells; by default those of others. */
  readonly own?: ReadonlyMap<string, string>;
  /**
   * Where others write into the same cells: fulfilled when they may have done so. Executions are
   * then drawn when they are over, and only if a cell shows something else. By default they are
   * drawn while they grow.
   *
   * @returns False if there is nobody to wait for.
   */
  readonly settled?: () => Promise<boolean>;
}

/**
 * Brings to the cells of a notebook what was run in them by pages that are gone, until all of it
 * is over. It looks only at what there was when it began: later executions are of other pages.
 */
export class Follower {
  /**
   * @param client - The kernel's record.
   * @param notebook - The notebook.
   * @param manner - What is followed, and when it is drawn.
   */
  constructor(
    private readonly client: RecallClient,
    private readonly notebook: INotebookModel,
    private readonly manner: IManner,
  ) {
    notebook.cells.changed.connect(this.onCells);
  }

  /** Emitted when a cell shows all of an execution that is over. */
  readonly finished = new Signal<this, string>(this);

  /** Follow to the end. */
  async run(): Promise<void> {
    let news = await this.ask();
    const { own } = this.manner;
    for (const each of news?.executions ?? []) {
      if (own?.has(each.id) ?? true) {
        this.records.set(each.id, each);
      }
    }
    while (news !== null && !this.ended) {
      this.take(news);
      const { sequence, busy } = news;
      if (!this.isOpen()) {
        return;
      }
      news = await this.ask(sequence);
      // What waits while the kernel rests was never sent: its page was left too soon.
      if (news?.sequence === sequence && !busy && !this.isRunning()) {
        return;
      }
    }
    this.end();
  }

  /** Leave a cell alone from now on, as the user has done something with it. */
  leave(cell: string): void {
    this.left.add(cell);
    for (const [key, shown] of [...this.shown]) {
      if (shown.cell === cell) {
        this.left.add(key);
        this.shown.delete(key);
      }
    }
  }

  /** Leave all alone. */
  end(): void {
    this.ended = true;
    this.notebook.cells.changed.disconnect(this.onCells);
    for (const each of this.shown.values()) {
      each.release();
    }
    this.shown.clear();
  }

  /** News; null once nobody wants them or the server has none. */
  private async ask(after?: number): Promise<INews | null> {
    while (!this.ended) {
      try {
        return await this.client.news(after);
      } catch {
        await new Promise((resolve) => {
          setTimeout(resolve, AGAIN_MILLISECONDS);
        });
      }
    }
    return null;
  }

  private take(news: INews): void {
    const changed = new Set<string>();
    for (const each of news.executions) {
      if (this.records.has(each.id)) {
        this.records.set(each.id, each);
        changed.add(each.id);
      }
    }
    const known = new Set(news.known);
    for (const id of [...this.records.keys()]) {
      if (!known.has(id)) {
        this.records.delete(id);
      }
    }
    this.busy = news.busy;
    const latest = this.latest();
    for (const [key, shown] of [...this.shown]) {
      if (latest.get(key)?.id !== shown.id) {
        shown.release();
        this.shown.delete(key);
      }
    }
    for (const record of latest.values()) {
      this.show(record, changed.has(record.id));
    }
  }

  /** A cell that was deleted may be back, and one that is moved gets another model. */
  private readonly onCells = (): void => {
    // Outputs that are set amid the change are there twice afterwards.
    queueMicrotask(() => {
      for (const record of this.latest().values()) {
        if (!this.whole.has(record.id) && !this.ended) {
          this.show(record, false);
        }
      }
    });
  };

  private show(record: IRecord, isChanged: boolean): void {
    if (this.manner.settled === undefined) {
      this.draw(record, isChanged);
    } else if (record.state === 'over' && !this.mending.has(record.id)) {
      void this.mend(record.id, this.manner.settled);
    }
  }

  /** Put right what a cell shows in the end. */
  private async mend(
    id: string,
    settled: () => Promise<boolean>,
  ): Promise<void> {
    this.mending.add(id);
    for (let times = 0; times < MOST_TIMES && (await settled()); times++) {
      const record = this.ended ? undefined : this.records.get(id);
      const cell = this.manner.own?.get(id);
      const model = record && this.find(record.cell, cell);
      if (!record || !model || this.left.has(model.id)) {
        break;
      }
      // Whoever edits a cell while it runs still wants what it puts out.
      if (cell === undefined && model.sharedModel.getSource() !== record.code) {
        this.leave(model.id);
        break;
      }
      if (restore(model, record)) {
        this.whole.add(id);
        this.finished.emit(id);
        return;
      }
    }
    this.mending.delete(id);
  }

  private draw(record: IRecord, isChanged: boolean): void {
    let shown = this.shown.get(record.cell);
    if (shown === undefined || shown.model.isDisposed) {
      const model = this.find(record.cell, shown?.cell);
      if (model === null) {
        return;
      }
      if (this.left.has(model.id)) {
        this.left.add(record.cell);
        return;
      }
      shown = new RecalledCell(model, record.id);
      this.shown.set(record.cell, shown);
      isChanged = true;
    }
    if (record.state === 'waiting') {
      shown.wait(this.busy);
    } else if (isChanged && record.code !== null) {
      if (!shown.show(record, record.code)) {
        this.leave(shown.cell);
      } else if (record.state === 'over') {
        this.whole.add(record.id);
        this.finished.emit(record.id);
      }
    }
  }

  /** The cell of this id, as it was found before; otherwise the only one of a key. */
  private find(key: string, id: string = key): ICodeCellModel | null {
    const cells = [...this.notebook.cells].filter(isCode);
    const known = cells.find((each) => each.id === id);
    if (known !== undefined) {
      return known;
    }
    const [found = null, ...others] = cells.filter(
      (each) =>
        key === keyOf(this.notebook, each.id, each.sharedModel.getSource()),
    );
    return others.length > 0 ? null : found;
  }

  /** Of each cell that is not left alone, by its key, the execution that was asked for last. */
  private latest(): Map<string, IRecord> {
    const found = new Map<string, IRecord>();
    for (const each of this.records.values()) {
      const other = found.get(each.cell);
      if (!this.left.has(each.cell) && !(other && other.told > each.told)) {
        found.set(each.cell, each);
      }
    }
    return found;
  }

  private isOpen(): boolean {
    return [...this.latest().values()].some((each) => each.state !== 'over');
  }

  private isRunning(): boolean {
    return [...this.latest().values()].some((each) => each.state === 'running');
  }

  private readonly records = new Map<string, IRecord>();
  /** Cells, by their keys. */
  private readonly shown = new Map<string, RecalledCell>();
  /** Cells that are left alone, by their ids in this page and by their keys. */
  private readonly left = new Set<string>();
  private readonly mending = new Set<string>();
  /** Executions of which a cell has shown all. */
  private readonly whole = new Set<string>();
  private busy = false;
  private ended = false;
}

function isCode(model: ICellModel): model is ICodeCellModel {
  return model.type === 'code';
}

import type { TranslationBundle } from '@jupyterlab/translation';
import { type ISignal, Signal } from '@lumino/signaling';

import type { EngineClient } from './client';
import { Fault } from './fault';
import type { Library } from './library';
import { shown } from './text';
import type { StatusWatch } from './watch';
import type { IPullRequest } from './wire';

/** Something to tell the user. */
export interface IMessage {
  readonly text: string;
  readonly hint: string;
  readonly isError: boolean;
}

/** What the user can do with models and jobs; none of it raises, all of it is told. */
export class Actions {
  private readonly _changed = new Signal<this, void>(this);
  private readonly _pending = new Set<string>();
  private _message: IMessage | null = null;
  private readonly _dismissed = new Set<string>();

  constructor(
    private readonly client: EngineClient,
    private readonly watch: StatusWatch,
    private readonly library: Library,
    private readonly trans: TranslationBundle,
  ) {}

  /** Emitted when there is another message, or something begins or ends. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** The last thing to tell the user. */
  get message(): IMessage | null {
    return this._message;
  }

  /** Whether something is under way with a model or job. */
  isPending(key: string): boolean {
    return this._pending.has(key);
  }

  /** Whether the user needs to know no more of a job that is over. */
  isDismissed(job: string): boolean {
    return this._dismissed.has(job);
  }

  /** Tell the user something; nothing takes the last message away. */
  say(message: IMessage | null): void {
    this._message = message;
    this._changed.emit();
  }

  /** Tell the user of an error. */
  tell(thrown: unknown): void {
    const fault = Fault.from(thrown);
    this.say({
      text: shown(fault.message, 600),
      hint: shown(fault.hint, 600),
      isError: true,
    });
  }

  /** Show no more of a job that is over. */
  dismiss(job: string): void {
    this._dismissed.add(job);
    this._changed.emit();
  }

  /** Fetch a model, or go on with it. */
  pull(request: IPullRequest): Promise<void> {
    return this.act(request.model, async () => {
      await this.client.pull(request);
      return '';
    });
  }

  /** Compare a model's files with what was published. */
  verify(model: string): Promise<void> {
    return this.act(model, async () => {
      await this.client.verify(model);
      return '';
    });
  }

  /** Get a model ready. */
  load(model: string): Promise<void> {
    return this.act(model, async () => {
      await this.client.load(model);
      return '';
    });
  }

  /** End the processes that hold a model. */
  unload(model: string, force = false): Promise<void> {
    return this.act(model, async () => {
      await this.client.unload(model, force);
      return this.trans.__('%1 has left the memory.', shown(model));
    });
  }

  /** Delete a model. */
  remove(model: string): Promise<void> {
    return this.act(model, async () => {
      await this.client.remove(model);
      await this.library.refresh();
      return this.trans.__('%1 is removed.', shown(model));
    });
  }

  /** End a job; a download can go on later. */
  stop(job: string): Promise<void> {
    return this.act(job, async () => {
      await this.client.cancel(job);
      return '';
    });
  }

  /** End a download and delete what has come of it. */
  discard(job: string, model: string): Promise<void> {
    return this.act(job, async () => {
      await this.client.cancel(job, true);
      this._dismissed.add(job);
      return this.trans.__(
        'The download of %1 is cancelled, and nothing of it is kept.',
        shown(model),
      );
    });
  }

  /** Ask the hub. */
  search(words: string): Promise<void> {
    return this.act('search', async () => {
      await this.library.search(words);
      return '';
    });
  }

  /** Find out whether a model fits; what comes of it is shown beside the model. */
  judge(model: string): void {
    this.watch.rouse();
    void this.library.judge(model);
  }

  private async act(key: string, work: () => Promise<string>): Promise<void> {
    if (this._pending.has(key)) {
      return;
    }
    this._pending.add(key);
    this.say(null);
    this.watch.rouse();
    try {
      const text = await work();
      if (text) {
        this.say({ text, hint: '', isError: false });
      }
    } catch (error) {
      this.tell(error);
    } finally {
      this._pending.delete(key);
      this._changed.emit();
      this.watch.rouse();
    }
  }
}

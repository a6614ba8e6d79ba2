import { DisposableDelegate, type IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

import type { EngineClient } from './client';
import { Fault } from './fault';
import type { IEvent, IJob, ILoad, IStatus } from './wire';

/** How long the stream stays open after a user's act, or after the last job, in ms. */
const LINGER = 4_000;

/** Between two questions while somebody expects something, in ms. */
const EXPECTANT = 2_000;

/** A stream that says nothing for so long has died, in ms. */
const SILENCE = 20_000;

/** An engine at work may be late by so much, in ms. */
const PATIENCE = 2_500;

/** Before the next question after the first that failed, in ms. */
const LEAST_WAIT = 500;
/** How long questions stand in for a stream that has failed, in ms. */
const STREAM_AGAIN = 15_000;

/** What of the stream the watch needs. */
type Source = Pick<EngineClient, 'status' | 'events'>;

/**
 * What the engine does, as the whole page sees it.
 *
 * It asks now and then while nothing happens, holds one stream while something does, and neither
 * while the page is hidden.
 */
export class StatusWatch implements IDisposable {
  /** Milliseconds between two questions of an idle page. */
  interval = 10_000;

  private readonly _changed = new Signal<this, void>(this);
  private _status: IStatus | null = null;
  private _fault: Fault | null = null;
  private _lateSince: number | null = null;
  private _livelyUntil = 0;
  private _expectant = 0;
  private _following: AbortController | null = null;
  private _streamAfter = 0;
  private _wake: () => void = () => undefined;
  private _isDisposed = false;
  private _running = false;

  constructor(private readonly source: Source) {}

  /** Emitted when the status or the fault is another. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** What is known; null before the first answer. */
  get status(): IStatus | null {
    return this._status;
  }

  /** Why nothing newer is known; null while all is well. */
  get fault(): Fault | null {
    return this._fault;
  }

  /** Whether the engine has not answered for so long that the user has to know. */
  get isSilent(): boolean {
    return this._lateSince !== null && Date.now() - this._lateSince >= PATIENCE;
  }

  /** What the engine does now. */
  get jobs(): readonly IJob[] {
    return this._status?.engine?.jobs ?? [];
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Begin to look. */
  start(): void {
    if (!this._running) {
      this._running = true;
      document.addEventListener('visibilitychange', this._onVisibility);
      void this._run();
    }
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      document.removeEventListener('visibilitychange', this._onVisibility);
      this._following?.abort();
      this._wake();
      Signal.clearData(this);
    }
  }

  /** Look closely for a while: the user has done something. */
  rouse(): void {
    this._livelyUntil = Date.now() + LINGER;
    this._wake();
  }

  /** Ask more often until this is disposed of: something may be about to happen. */
  expect(): IDisposable {
    this._expectant += 1;
    this.rouse();
    return new DisposableDelegate(() => {
      this._expectant -= 1;
    });
  }

  private get _isLively(): boolean {
    const busy =
      this.jobs.length > 0 ||
      (this._status?.loads ?? []).some(isRunning) ||
      (this._status?.engine?.workers ?? []).some(
        (worker) => worker.state === 'loading',
      );
    if (busy) {
      this._livelyUntil = Math.max(this._livelyUntil, Date.now() + LINGER / 2);
    }
    return busy || Date.now() < this._livelyUntil;
  }

  private readonly _onVisibility = (): void => {
    if (document.hidden) {
      this._following?.abort();
    }
    this._wake();
  };

  private async _run(): Promise<void> {
    let wait = LEAST_WAIT;
    while (!this._isDisposed) {
      if (document.hidden) {
        await this._pause(null);
      } else if (this._isLively && Date.now() >= this._streamAfter) {
        await this._stream();
      } else if (await this._ask()) {
        wait = LEAST_WAIT;
        if (!this._isLively || Date.now() < this._streamAfter) {
          await this._pause(this._pace);
        }
      } else {
        await this._pause(Math.min(wait, this._pace));
        wait *= 2;
      }
    }
  }

  /** Milliseconds between two questions. */
  private get _pace(): number {
    return this._isLively || this._expectant ? EXPECTANT : this.interval;
  }

  /** Ask once; whether the engine's state is known now. */
  private async _ask(): Promise<boolean> {
    try {
      this._take({ status: await this.source.status() });
    } catch (error) {
      this._fault = Fault.from(error);
      this._changed.emit();
      return false;
    }
    return this._lateSince === null;
  }

  /** Follow the stream; one that fails leaves the field to questions for a while. */
  private async _stream(): Promise<void> {
    try {
      await this._follow();
    } catch {
      this._streamAfter = Date.now() + STREAM_AGAIN;
    }
  }

  /** Read the stream until nothing happens any more. */
  private async _follow(): Promise<void> {
    const stream = (this._following = new AbortController());
    let quiet = 0;
    let idle = 0;
    const listen = (): void => {
      window.clearTimeout(quiet);
      quiet = window.setTimeout(() => {
        stream.abort(new Fault('The server has fallen silent.'));
      }, SILENCE);
    };
    // An idle stream has nothing to say, so its end is found by the clock.
    const look = (): void => {
      if (this._lateSince !== null) {
        this._changed.emit();
      }
      if (!this._isLively || document.hidden) {
        stream.abort();
      }
    };
    try {
      listen();
      idle = window.setInterval(look, LINGER / 4);
      for await (const event of this.source.events(stream.signal)) {
        listen();
        if (event !== null) {
          this._take(event);
        }
      }
      // A server that ends a stream while something runs is asked again, and not at once.
      if (this._isLively) {
        await this._pause(LEAST_WAIT);
      }
    } catch (error) {
      const reason: unknown = stream.signal.reason;
      if (reason instanceof Fault) {
        throw reason;
      }
      if (!stream.signal.aborted) {
        throw error;
      }
    } finally {
      window.clearTimeout(quiet);
      window.clearInterval(idle);
      this._following = null;
    }
  }

  private _take(event: IEvent): void {
    this._status = event.status;
    this._fault = null;
    const engine = event.status.engine;
    if (engine?.error === undefined && !engine?.stale) {
      this._lateSince = null;
    } else {
      this._lateSince ??= Date.now();
    }
    this._changed.emit();
  }

  /** Wait for so long, or until somebody wakes this up; null waits for that alone. */
  private _pause(milliseconds: number | null): Promise<void> {
    return new Promise((resolve) => {
      const timer =
        milliseconds === null
          ? undefined
          : window.setTimeout(() => {
              this._wake();
            }, milliseconds);
      this._wake = () => {
        window.clearTimeout(timer);
        this._wake = () => undefined;
        resolve();
      };
    });
  }
}

/** Whether a load is not over yet. */
export function isRunning(load: ILoad): boolean {
  return load.phase !== 'ready' && load.phase !== 'failed';
}

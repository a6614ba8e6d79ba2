import type { TranslationBundle } from '@jupyterlab/translation';

import type { Actions } from './actions';
import { Fault } from './fault';
import type { Library } from './library';
import { plain } from './names';
import { shown } from './text';
import { isRunning, type StatusWatch } from './watch';
import type { IEndedJob, ILoad } from './wire';

/** Tells of what comes to its end, whichever page began it. */
export class Herald {
  // Null before the first look: what was over by then is no news.
  private _complete: ReadonlySet<string> | null = null;
  private _loading: ReadonlySet<string> = new Set();

  constructor(
    private readonly watch: StatusWatch,
    private readonly library: Library,
    private readonly actions: Actions,
    private readonly trans: TranslationBundle,
  ) {}

  /** Begin to listen. */
  start(): void {
    this.watch.changed.connect(() => {
      const status = this.watch.status;
      if (status !== null) {
        this._jobs(status.engine?.ended ?? []);
        this._loads(status.loads ?? []);
        if (status.models) {
          void this.library.follow(status.models);
        }
      }
    });
  }

  private _jobs(ended: readonly IEndedJob[]): void {
    const complete = ended.filter((job) => job.phase === 'complete');
    const before = this._complete;
    this._complete = new Set(complete.map((job) => job.id));
    const fresh = complete.filter((job) => before && !before.has(job.id));
    for (const job of fresh) {
      this._say(this._words(job));
    }
    if (fresh.some((job) => job.kind === 'pull')) {
      void this.library.renew();
    }
  }

  private _words(job: IEndedJob): string {
    const name = shown(plain(job.model));
    if (job.kind === 'pull') {
      return this.trans.__('%1 is here.', name);
    }
    return job.progress?.metadata?.checked === 'sha256'
      ? this.trans.__('%1 is sound: every file is as it was published.', name)
      : this.trans.__(
          '%1 can be read; nothing says what its bytes have to be.',
          name,
        );
  }

  private _loads(loads: readonly ILoad[]): void {
    for (const load of loads) {
      if (this._loading.has(load.model) && !isRunning(load)) {
        if (load.error === null) {
          this._say(this.trans.__('%1 is ready.', shown(plain(load.model))));
        } else {
          this.actions.tell(Fault.of(load.error, load.phase));
        }
      }
    }
    this._loading = new Set(loads.filter(isRunning).map((load) => load.model));
  }

  private _say(text: string): void {
    this.actions.say({ text, hint: '', isError: false });
  }
}

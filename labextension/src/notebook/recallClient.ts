import { URLExt } from '@jupyterlab/coreutils';
import type { IOutput } from '@jupyterlab/nbformat';
import { ServerConnection } from '@jupyterlab/services';

/** One execution as the server has recorded it. */
export interface IRecord {
  /** The `msg_id` of its request. */
  readonly id: string;
  /** The cell's key, as `keyOf` makes it. */
  readonly cell: string;
  /** Of two executions of a cell, the one with the higher number was asked for later. */
  readonly told: number;
  readonly state: 'waiting' | 'running' | 'over';
  readonly count: number | null;
  readonly code: string | null;
  /** All of its outputs. */
  readonly outputs: readonly IOutput[];
}

/** What a kernel has put out for a notebook. */
export interface INews {
  /** Ask for what is newer than this. */
  readonly sequence: number;
  /** Whether the kernel runs any cell. */
  readonly busy: boolean;
  /** All executions there are. */
  readonly known: readonly string[];
  /** Those that have changed. */
  readonly executions: readonly IRecord[];
}

/** How long the server keeps a request for news. */
const WAIT_SECONDS = 10;

/** The server's routes that keep what a kernel puts out for a notebook. */
export class RecallClient {
  /**
   * @param kernel - The kernel's id.
   * @param session - The id of the notebook's session, which stays when its file is renamed.
   * @param settings - Where the server is.
   */
  constructor(
    kernel: string,
    private readonly session: string,
    private readonly settings: ServerConnection.ISettings,
  ) {
    this.url = URLExt.join(
      settings.baseUrl,
      'llmspell/api/streams',
      encodeURIComponent(kernel),
    );
  }

  /** Keep what the kernel puts out from now on. */
  async keep(): Promise<boolean> {
    return this.post('keep', {});
  }

  /**
   * Say to which cells executions belong, each as `[execution, key of the cell]`.
   *
   * It reaches the server even if the page is left at once.
   *
   * @returns False if the server could not be reached.
   */
  async tell(
    executions: readonly (readonly [string, string])[],
  ): Promise<boolean> {
    return this.post('tell', { session: this.session, executions }, true);
  }

  /** These are in the file. */
  async forget(executions: readonly string[]): Promise<boolean> {
    return this.post('forget', { session: this.session, executions }, true);
  }

  /** What these cells, by their keys, have put out is not wanted any longer. */
  async clear(cells: readonly string[]): Promise<boolean> {
    return this.post('clear', { session: this.session, cells }, true);
  }

  /**
   * What has changed; without a sequence number all there is, at once, and with one as soon as
   * anything has changed, or after a while.
   *
   * @returns null if the server does not keep the kernel.
   * @throws If the server cannot be reached.
   */
  async news(after?: number): Promise<INews | null> {
    const query: Record<string, string> = { session: this.session };
    if (after !== undefined) {
      query.after = String(after);
      query.wait = String(WAIT_SECONDS);
    }
    const url = this.url + URLExt.objectToQueryString(query);
    const answer = await ServerConnection.makeRequest(url, {}, this.settings);
    return answer.ok ? ((await answer.json()) as INews) : null;
  }

  private async post(
    name: string,
    body: object,
    keepalive = false,
  ): Promise<boolean> {
    const init = {
      method: 'POST',
      body: JSON.stringify(body),
      headers: { 'Content-Type': 'application/json' },
      keepalive,
    };
    const url = URLExt.join(this.url, name);
    try {
      // A kernel that is not kept here will not be later on.
      await ServerConnection.makeRequest(url, init, this.settings);
      return true;
    } catch {
      // The page itself says that the server is away.
      return false;
    }
  }

  private readonly url: string;
}

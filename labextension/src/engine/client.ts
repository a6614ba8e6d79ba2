import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import { Fault } from './fault';
import { values } from './stream';
import type {
  IEvent,
  IFit,
  IModels,
  IOffers,
  IPullProgress,
  IPullRequest,
  IStatus,
} from './wire';

/** The server's routes; every method raises a `Fault`. */
export class EngineClient {
  /**
   * @param settings - Where the server is. Base URL, token and protection against forged requests
   *   are its business.
   */
  constructor(
    private readonly settings: ServerConnection.ISettings = ServerConnection.makeSettings(),
  ) {}

  /** What the engine does; starts nothing. */
  status(): Promise<IStatus> {
    return this.ask<IStatus>('status');
  }

  /** Models on this machine. */
  models(): Promise<IModels> {
    return this.ask<IModels>('models');
  }

  /** Models of the catalog; asks no network. */
  catalog(): Promise<IOffers> {
    return this.ask<IOffers>('catalog');
  }

  /** Models that these words fit, of the hub as well. */
  search(search: string): Promise<IOffers> {
    return this.ask<IOffers>('search', { search });
  }

  /** Whether a model fits; measures this machine the first time. */
  fit(model: string): Promise<IFit> {
    return this.ask<IFit>('fit', { model });
  }

  /** Fetch a model, or go on with it. */
  pull(request: IPullRequest): Promise<IPullProgress> {
    return this.ask<IPullProgress>('pull', { ...request });
  }

  /** Compare a model's files with what was published. */
  verify(model: string): Promise<IPullProgress> {
    return this.ask<IPullProgress>('verify', { model });
  }

  /** Get a model ready; it goes on without this page. */
  async load(model: string): Promise<void> {
    await this.ask('load', { model });
  }

  /** End the processes that hold a model. */
  async unload(model: string, force: boolean): Promise<void> {
    await this.ask('unload', { model, force });
  }

  /** Delete a model. */
  async remove(model: string): Promise<void> {
    await this.ask('remove', { model });
  }

  /**
   * End a job, whoever asked for it.
   *
   * @param discard - Delete what a download has fetched; otherwise it can go on later.
   * @returns Whether there was such a job.
   */
  async cancel(job: string, discard = false): Promise<boolean> {
    const path = `jobs/${encodeURIComponent(job)}/cancel`;
    const body = discard ? { discard } : {};
    return (await this.ask<{ cancelled: boolean }>(path, body)).cancelled;
  }

  /** Everything that changes, until the signal or the server ends it. */
  async *events(signal: AbortSignal): AsyncGenerator<IEvent | null> {
    const response = await this.request('events', { signal });
    if (!response.ok || response.body === null) {
      throw await refusal(response);
    }
    for await (const value of values(response.body)) {
      yield value as IEvent | null;
    }
  }

  private async ask<T>(path: string, body?: object): Promise<T> {
    const response = await this.request(
      path,
      body === undefined
        ? {}
        : {
            method: 'POST',
            body: JSON.stringify(body),
            headers: { 'Content-Type': 'application/json' },
          },
    );
    if (!response.ok) {
      throw await refusal(response);
    }
    return (await response.json()) as T;
  }

  private async request(path: string, init: RequestInit): Promise<Response> {
    const url = URLExt.join(this.settings.baseUrl, 'llmspell', 'api', path);
    try {
      return await ServerConnection.makeRequest(url, init, this.settings);
    } catch (error) {
      throw Fault.from(error);
    }
  }
}

async function refusal(response: Response): Promise<Fault> {
  const text = `${String(response.status)} ${response.statusText}`.trim();
  try {
    return Fault.of(await response.json(), text);
  } catch {
    return new Fault(text);
  }
}

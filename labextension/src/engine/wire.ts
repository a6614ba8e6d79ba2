/**
 * What the server says, as JSON. Fields that this page does not use are left out; sizes are in
 * bytes, times in seconds unless a name says otherwise.
 */

/** Where a download or check stands; answers and loads say theirs in other words. */
export type PullPhase =
  | 'starting'
  | 'downloading'
  | 'verifying'
  | 'complete'
  | 'failed'
  | 'cancelled';

/** How far a download or check is. */
export interface IPullProgress {
  readonly model: string;
  readonly phase: PullPhase;
  readonly done: number;
  readonly total: number | null;
  readonly bytes_per_second: number | null;
  readonly seconds_left: number | null;
  readonly percent: number | null;
  readonly note: string;
  readonly job: string;
  readonly metadata?: {
    /** Of a check: whether hashes were compared, or only headers read. */
    readonly checked?: 'sha256' | 'header';
  };
}

/** An error of the server, in words. */
export interface IWireError {
  readonly message: string;
  readonly hint?: string;
  readonly type?: string;
}

/** Something the engine does. */
export interface IJob {
  readonly id: string;
  readonly kind: string;
  readonly model: string;
  /** The kernel of this server that asked; of what is over it is not told. */
  readonly kernel?: string | null;
  readonly phase: string;
  /** Requests before it in the queue. */
  readonly ahead: number;
  readonly tokens: number;
  readonly tokens_per_second: number | null;
  readonly seconds: number;
  /** How many watch it; of downloads and checks only. */
  readonly viewers?: number;
  /** Of downloads: what to ask for to go on. */
  readonly asked?: IPullRequest;
  readonly progress?: IPullProgress;
}

/** A download or check that is over. */
export interface IEndedJob extends IJob {
  readonly error?: IWireError | null;
}

/** A process that holds a model. */
export interface IWorker {
  readonly model: string;
  /** `loading`, `ready` or `dead`. */
  readonly state: string;
  readonly pid: number | null;
  readonly need_bytes: number | null;
  readonly rss_bytes: number | null;
  readonly memory_note: string;
  readonly leaves_in_seconds: number | null;
  readonly pinned: boolean;
  readonly waiting: number;
  readonly device?: string;
  readonly device_reason?: string;
  readonly device_warning?: string;
}

/** The engine; one that does not answer says only `error`. */
export interface IEngineState {
  readonly version?: string;
  readonly pid?: number;
  readonly started?: number;
  readonly warnings?: readonly string[];
  readonly workers?: readonly IWorker[];
  readonly jobs?: readonly IJob[];
  readonly ended?: readonly IEndedJob[];
  readonly error?: IWireError | string;
  /** This is the last that is known, of some seconds ago. */
  readonly stale?: boolean;
}

/** A load that a page began. */
export interface ILoad {
  readonly model: string;
  /** `ready` or `failed` when it is over. */
  readonly phase: string;
  readonly percent: number | null;
  readonly error: IWireError | null;
}

/** All that changes by itself. */
export interface IStatus {
  readonly engine: IEngineState | null;
  readonly machine: {
    readonly memory_total: number;
    readonly memory_available: number;
  };
  /** Those under way, and for a while those that are over. */
  readonly loads?: readonly ILoad[];
  /** Another mark when other models are on this machine; null while nobody has looked. */
  readonly models?: string | null;
}

/** A model on this machine. */
export interface IModel {
  readonly id: string;
  readonly backend: string;
  readonly format: string;
  readonly size_bytes: number;
  readonly architecture: string | null;
  readonly quantization: string | null;
  readonly parameter_count: number | null;
  readonly context_length: number | null;
  readonly store: string;
  readonly repository: string | null;
  readonly license: string | null;
}

/** Models on this machine, and the mark of the status as long as these are there. */
export interface IModels {
  readonly models: readonly IModel[];
  readonly mark: string;
}

/** A model that can be had. */
export interface IOffer {
  readonly id: string;
  readonly backend: string;
  readonly origin: string;
  readonly title: string;
  readonly repository: string | null;
  readonly quantizations: readonly string[];
  readonly size_bytes: number | null;
  readonly parameter_count: number | null;
  readonly license: string | null;
  readonly context_length: number | null;
  readonly architecture: string | null;
  readonly tasks: readonly string[];
  readonly gated: boolean;
  readonly installed: boolean;
}

/** Offers, and a line for each source that could not be asked. */
export interface IOffers {
  readonly models: readonly IOffer[];
  readonly notes: readonly string[];
}

/** Tokens a second that are to be expected. */
export interface ISpeed {
  readonly low: number;
  readonly expected: number;
  readonly high: number;
}

/** Whether a model fits on this machine. */
export interface IFit {
  readonly model: string;
  readonly light: 'green' | 'amber' | 'red';
  readonly device: string;
  readonly speed: ISpeed | null;
  readonly speed_note: string;
  /** Lines that say why the light is what it is: memory, speed, disk. */
  readonly reasons: readonly string[];
}

/** What a pull is asked for. */
export interface IPullRequest {
  readonly model: string;
  readonly quantization?: string | null;
  readonly revision?: string | null;
  readonly force?: boolean;
  readonly bytes_per_second?: number;
  /** Path and SHA-256 of each file, where a lock file says them. */
  readonly locked?: readonly (readonly [string, string])[];
}

/** A message of the stream. */
export interface IEvent {
  readonly status: IStatus;
}

import type { TranslationBundle } from '@jupyterlab/translation';
import type { ISignal } from '@lumino/signaling';
import * as React from 'react';

import type { IEngine } from '../engine/plugin';
import type { IJob, IModel } from '../engine/wire';

/** What the parts of the sidebar work with. */
export interface IDesk extends IEngine {
  readonly trans: TranslationBundle;
  /** Put a cell with this model into the current notebook. */
  readonly insert: (model: IModel) => void;
  /** Name of the notebook for which a job runs; empty when it is none of this server. */
  readonly placeOf: (job: IJob) => string;
  /** Ask whether a model is to be removed, as the settings say. */
  readonly confirmRemove: (model: string) => Promise<boolean>;
  /** Ask whether a model is to leave the memory, as the settings say. */
  readonly confirmUnload: (model: string) => Promise<boolean>;
  /** Ask whether what has come of a download is to be deleted, as the settings say. */
  readonly confirmDiscard: (model: string) => Promise<boolean>;
}

const Context = React.createContext<IDesk | null>(null);

export const DeskProvider = Context.Provider;

/** The desk at which this part of the sidebar works. */
export function useDesk(): IDesk {
  const desk = React.useContext(Context);
  if (desk === null) {
    throw new Error('No desk around this part.');
  }
  return desk;
}

/** Draw this part again whenever one of these signals is emitted. */
export function useChanges(...signals: ISignal<unknown, unknown>[]): void {
  const [, draw] = React.useReducer((count: number) => count + 1, 0);
  React.useEffect(() => {
    for (const signal of signals) {
      signal.connect(draw);
    }
    return () => {
      for (const signal of signals) {
        signal.disconnect(draw);
      }
    };
    // The signals of a part are the same as long as it lives.
  }, []);
}

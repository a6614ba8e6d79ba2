import { type ISignal, Signal } from '@lumino/signaling';

import type { EngineClient } from './client';
import { Fault } from './fault';
import { namesOfModel, namesOfOffer } from './names';
import type { IFit, IModel, IOffer, IOffers } from './wire';

/** What is known of whether a model fits. */
export type Judgement = IFit | Fault | 'asking';

/** Models of this machine, models that can be had, and how well they fit. */
export class Library {
  private readonly _changed = new Signal<this, void>(this);
  private _models: readonly IModel[] | null = null;
  private _mark: string | null = null;
  private _catalog: IOffers | null = null;
  private _found: IOffers | null = null;
  private _words = '';
  private _isSearching = false;
  private _fault: Fault | null = null;
  private readonly _judgements = new Map<string, Judgement>();
  private _asked = 0;

  constructor(private readonly client: EngineClient) {}

  /** Emitted when anything here is another. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** Models on this machine; null while nobody has looked. */
  get models(): readonly IModel[] | null {
    return this._models;
  }

  /** Why a list is missing; null while all is well. */
  get fault(): Fault | null {
    return this._fault;
  }

  /** The words for which the hub was asked last; empty when the catalog is shown. */
  get words(): string {
    return this._words;
  }

  /** Whether the hub is being asked. */
  get isSearching(): boolean {
    return this._isSearching;
  }

  /** Lines about sources that could not be asked. */
  get notes(): readonly string[] {
    return (this._found ?? this._catalog)?.notes ?? [];
  }

  /** Offers: those of the search, else the catalog; null while nobody has looked. */
  get offers(): readonly IOffer[] | null {
    return (this._found ?? this._catalog)?.models ?? null;
  }

  /** Whether a model that can be had is on this machine already. */
  isInstalled(offer: IOffer): boolean {
    if (this._models === null) {
      return offer.installed;
    }
    const here = new Set(this._models.flatMap(namesOfModel));
    return namesOfOffer(offer).some((name) => here.has(name));
  }

  /** What is known of whether this model fits. */
  judgement(model: string): Judgement | undefined {
    return this._judgements.get(model);
  }

  /** Look at the models of this machine again. */
  async refresh(): Promise<void> {
    const asked = (this._asked += 1);
    try {
      const { models, mark } = await this.client.models();
      // An answer to an older question must not replace that to a newer one.
      if (asked === this._asked) {
        this._models = models;
        this._mark = mark;
        this._fault = null;
      }
    } catch (error) {
      this._fault = Fault.from(error);
    }
    this._changed.emit();
  }

  /** Look again, unless nobody has looked yet: who has not does so when the list is shown. */
  async renew(): Promise<void> {
    if (this._models !== null) {
      await this.refresh();
    }
  }

  /** Look again if this is the mark of other models than those of the list. */
  async follow(mark: string): Promise<void> {
    if (mark !== this._mark) {
      this._mark = mark;
      await this.renew();
    }
  }

  /** Read the catalog. */
  async open(): Promise<void> {
    try {
      this._catalog = await this.client.catalog();
    } catch (error) {
      this._fault = Fault.from(error);
    }
    this._changed.emit();
  }

  /** Ask the hub for these words; without words, show the catalog. */
  async search(words: string): Promise<void> {
    this._words = words;
    if (!words) {
      this._found = null;
      this._isSearching = false;
      this._changed.emit();
      return;
    }
    this._isSearching = true;
    this._changed.emit();
    try {
      const found = await this.client.search(words);
      if (words === this._words) {
        this._found = found;
      }
    } catch (error) {
      if (words === this._words) {
        this._found = { models: [], notes: [] };
        throw Fault.from(error);
      }
    } finally {
      if (words === this._words) {
        this._isSearching = false;
        this._changed.emit();
      }
    }
  }

  /** Find out whether a model fits. */
  async judge(model: string): Promise<void> {
    if (this._judgements.get(model) === 'asking') {
      return;
    }
    this._judgements.set(model, 'asking');
    this._changed.emit();
    try {
      this._judgements.set(model, await this.client.fit(model));
    } catch (error) {
      this._judgements.set(model, Fault.from(error));
    }
    this._changed.emit();
  }
}

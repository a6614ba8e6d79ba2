import type {
  JupyterFrontEnd,
  JupyterFrontEndPlugin,
} from '@jupyterlab/application';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { Token } from '@lumino/coreutils';
import { type ISignal, Signal } from '@lumino/signaling';

const SCHEMA = 'llmspell-jupyter:plugin';

/** What the user can set; `schema/plugin.json` says what each means. */
export interface Settings {
  readonly defaultProfile: string;
  readonly updateSeconds: number;
  readonly confirmRemove: boolean;
  readonly confirmUnload: boolean;
}

const DEFAULTS: Settings = {
  defaultProfile: '',
  updateSeconds: 10,
  confirmRemove: true,
  confirmUnload: false,
};

/** The settings in force; they may change at any time. */
export interface ILLMSpellSettings {
  readonly current: Settings;
  /** Sent after each change, and once when what is stored has been read. */
  readonly changed: ISignal<ILLMSpellSettings, Settings>;
}

export const ILLMSpellSettings = new Token<ILLMSpellSettings>(
  'llmspell-jupyter:ILLMSpellSettings',
  'The settings of LLMSpell, as they change.',
);

class LiveSettings implements ILLMSpellSettings {
  current = DEFAULTS;
  readonly changed = new Signal<this, Settings>(this);

  follow(stored: ISettingRegistry.ISettings): void {
    const read = (): void => {
      // The registry has checked each value against the schema.
      this.current = { ...DEFAULTS, ...(stored.composite as object) };
      this.changed.emit(this.current);
    };
    stored.changed.connect(read);
    read();
  }
}

export const settings: JupyterFrontEndPlugin<ILLMSpellSettings> = {
  id: SCHEMA,
  description: 'Reads the settings, and again whenever they change.',
  autoStart: true,
  optional: [ISettingRegistry],
  provides: ILLMSpellSettings,
  activate: (_app: JupyterFrontEnd, registry: ISettingRegistry | null) => {
    const live = new LiveSettings();
    registry?.load(SCHEMA).then(
      (stored) => {
        live.follow(stored);
      },
      // Lab itself says in its settings editor what is wrong with a file.
      () => undefined,
    );
    return live;
  },
};

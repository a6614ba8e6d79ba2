import { TextItem } from '@jupyterlab/statusbar';
import type { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget, UseSignal } from '@jupyterlab/ui-components';
import * as React from 'react';

import { shown } from '../engine/text';
import type { ProfileLinks } from './links';

/** The profile of the notebook in front; a press opens the choice. */
export class ProfileItem extends ReactWidget {
  constructor(
    private readonly links: ProfileLinks,
    private readonly trans: TranslationBundle,
    private readonly choose: () => void,
  ) {
    super();
    this.addClass('llmspell-status');
    this.addClass('jp-mod-highlighted');
  }

  protected override render(): React.JSX.Element {
    return (
      <UseSignal signal={this.links.changed}>{() => this._button()}</UseSignal>
    );
  }

  private _button(): React.JSX.Element | null {
    const { trans } = this;
    const link = this.links.current;
    if (!link?.state) {
      return null;
    }
    const { profile, about } = link.state;
    const name = profile ? shown(profile, 30) : trans.__('not loaded');
    return (
      <button
        type="button"
        className="llmspell-statusButton"
        aria-haspopup="menu"
        title={`${shown(about)}\n${trans.__('Press to take another profile')}`}
        onClick={this.choose}
      >
        <TextItem
          source={
            link.wanted === null
              ? trans.__('Profile: %1', name)
              : trans.__('Profile: %1 → %2 …', name, link.wanted)
          }
        />
      </button>
    );
  }
}

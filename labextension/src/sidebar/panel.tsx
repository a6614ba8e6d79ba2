import { closeIcon, ReactWidget, refreshIcon } from '@jupyterlab/ui-components';
import type { Message } from '@lumino/messaging';
import { Signal } from '@lumino/signaling';
import * as React from 'react';

import { spellIcon } from '../engine/icon';
import { CatalogSection } from './catalog';
import { DeskProvider, type IDesk, useChanges, useDesk } from './desk';
import { EngineSection } from './engine';
import { InstalledSection } from './installed';
import { JobsSection } from './jobs';
import { IconButton } from './parts';

/** The sidebar: engine, jobs, models and catalog. */
export class SpellPanel extends ReactWidget {
  private readonly _changed = new Signal<this, void>(this);

  constructor(private readonly desk: IDesk) {
    super();
    const { trans, watch, library, actions } = desk;
    this.id = 'llmspell-panel';
    this.addClass('llmspell-panel');
    this.title.icon = spellIcon;
    this.title.caption = trans.__('LLMSpell: models and engine');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', trans.__('LLMSpell'));
    // What nobody sees is not drawn.
    const redraw = (): void => {
      if (this.isVisible) {
        this._changed.emit();
      }
    };
    watch.changed.connect(redraw);
    library.changed.connect(redraw);
    actions.changed.connect(redraw);
  }

  override dispose(): void {
    Signal.clearData(this);
    super.dispose();
  }

  protected override onAfterShow(message: Message): void {
    super.onAfterShow(message);
    const { library, watch } = this.desk;
    void library.refresh();
    if (library.offers === null) {
      void library.open();
    }
    watch.rouse();
    this._changed.emit();
  }

  protected override render(): React.JSX.Element {
    return (
      <DeskProvider value={this.desk}>
        <Content changed={this._changed} />
      </DeskProvider>
    );
  }
}

function Content(props: {
  changed: Signal<SpellPanel, void>;
}): React.JSX.Element {
  useChanges(props.changed);
  const { trans, library, watch } = useDesk();
  return (
    <>
      <header className="llmspell-head">
        <span className="llmspell-title">LLMSpell</span>
        <IconButton
          icon={refreshIcon}
          title={trans.__('Look again at engine and models')}
          onClick={() => {
            watch.rouse();
            void library.refresh();
            void library.open();
          }}
        />
      </header>
      <Messages />
      <div className="llmspell-body">
        <EngineSection />
        <JobsSection />
        <InstalledSection />
        <CatalogSection />
      </div>
    </>
  );
}

/** What has to be told; read aloud when it comes. */
function Messages(): React.JSX.Element {
  const { actions, trans } = useDesk();
  const message = actions.message;
  return (
    <div className="llmspell-messages" role="status" aria-live="polite">
      {message ? (
        <div
          className={`llmspell-message${message.isError ? ' llmspell-mod-error' : ''}`}
        >
          <div className="llmspell-grow">
            {message.text}
            {message.hint ? (
              <div className="llmspell-hint">{message.hint}</div>
            ) : null}
          </div>
          <IconButton
            icon={closeIcon}
            title={trans.__('Close this message')}
            onClick={() => {
              actions.say(null);
            }}
          />
        </div>
      ) : null}
    </div>
  );
}

import {
  caretDownIcon,
  caretRightIcon,
  type LabIcon,
} from '@jupyterlab/ui-components';
import * as React from 'react';

/** A button with a word on it. */
export function TextButton(props: {
  /** What it says. */
  label: string;
  /** What it does, for those who do not see what it stands beside. */
  title: string;
  onClick: () => void;
  isDisabled?: boolean;
  isMain?: boolean;
}): React.JSX.Element {
  return (
    <button
      type="button"
      className={`llmspell-button${props.isMain ? ' llmspell-mod-main' : ''}`}
      title={props.title}
      aria-label={props.title}
      disabled={props.isDisabled}
      onClick={props.onClick}
    >
      {props.label}
    </button>
  );
}

/** A button with a picture on it. */
export function IconButton(props: {
  icon: LabIcon;
  title: string;
  onClick: () => void;
  isDisabled?: boolean;
}): React.JSX.Element {
  return (
    <button
      type="button"
      className="llmspell-iconButton"
      title={props.title}
      aria-label={props.title}
      disabled={props.isDisabled}
      onClick={props.onClick}
    >
      <props.icon.react tag="span" aria-hidden="true" />
    </button>
  );
}

/** A button that shows and hides something, and says which it does. */
export function Fold(props: {
  isOpen: boolean;
  setOpen: (isOpen: boolean) => void;
  /** Id of what it shows. */
  controls: string;
  children: React.ReactNode;
}): React.JSX.Element {
  return (
    <button
      type="button"
      className="llmspell-fold"
      aria-expanded={props.isOpen}
      aria-controls={props.controls}
      onClick={() => {
        props.setOpen(!props.isOpen);
      }}
    >
      <Caret isOpen={props.isOpen} />
      {props.children}
    </button>
  );
}

/** A part of the sidebar under a heading that folds it away. */
export function Section(props: {
  title: string;
  count?: number;
  children: React.ReactNode;
}): React.JSX.Element {
  const [isOpen, setOpen] = React.useState(true);
  const id = React.useId();
  const keeper = useKeptFocus();
  return (
    <section
      className="llmspell-section"
      aria-labelledby={`${id}-title`}
      ref={keeper.ref}
      onFocus={keeper.onFocus}
    >
      <h2 className="llmspell-sectionTitle">
        <Fold isOpen={isOpen} setOpen={setOpen} controls={id}>
          <span id={`${id}-title`} className="llmspell-grow">
            {props.title}
          </span>
          {props.count ? (
            <span className="llmspell-count">{props.count}</span>
          ) : null}
        </Fold>
      </h2>
      <div id={id} className="llmspell-sectionBody" hidden={!isOpen}>
        {props.children}
      </div>
    </section>
  );
}

/**
 * Keep the keyboard where it is: a button that goes away, or can no longer be pressed, hands its
 * place to the first one of its row, else to the heading.
 */
function useKeptFocus(): {
  ref: React.RefObject<HTMLElement>;
  onFocus: (event: React.FocusEvent<HTMLElement>) => void;
} {
  const ref = React.useRef<HTMLElement>(null);
  const last = React.useRef<HTMLElement | null>(null);
  const row = React.useRef<Element | null>(null);
  React.useLayoutEffect(() => {
    const at = last.current;
    if (at === null) {
      return;
    }
    const active = document.activeElement;
    if (active !== null && active !== document.body && active !== at) {
      last.current = null;
    } else if (!at.isConnected || at.matches(':disabled')) {
      const place = row.current?.isConnected ? row.current : ref.current;
      place?.querySelector<HTMLElement>('button:enabled')?.focus();
    }
  });
  return {
    ref,
    onFocus: (event) => {
      last.current = event.target;
      row.current = event.target.closest('li');
    },
  };
}

/** The sign of what can be unfolded. */
function Caret(props: { isOpen: boolean }): React.JSX.Element {
  const icon = props.isOpen ? caretDownIcon : caretRightIcon;
  return (
    <icon.react tag="span" className="llmspell-caret" aria-hidden="true" />
  );
}

/** How far something is; null where nobody can tell. */
export function ProgressBar(props: {
  label: string;
  percent: number | null;
  text: string;
  isStill?: boolean;
}): React.JSX.Element {
  const known =
    props.percent === null ? {} : { 'aria-valuenow': props.percent };
  const unknown = props.percent === null && !props.isStill;
  return (
    <div
      role="progressbar"
      className={`llmspell-bar${unknown ? ' llmspell-mod-unknown' : ''}${props.isStill ? ' llmspell-mod-still' : ''}`}
      aria-label={props.label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuetext={props.text}
      {...known}
    >
      <div
        className="llmspell-barDone"
        style={{ width: `${String(props.percent ?? 0)}%` }}
      />
    </div>
  );
}

/** Facts in one line, with dots between those that there are. */
export function Facts(props: {
  facts: readonly (string | null | undefined | false)[];
  className?: string;
}): React.JSX.Element | null {
  const facts = props.facts.filter(Boolean);
  return facts.length ? (
    <div className={`llmspell-facts ${props.className ?? ''}`.trim()}>
      {facts.join(' · ')}
    </div>
  ) : null;
}

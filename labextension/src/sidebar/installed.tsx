import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { specOf } from '../engine/names';
import { duration, shown, size } from '../engine/text';
import type { IModel, IWorker } from '../engine/wire';
import { useDesk } from './desk';
import { memoryOf } from './engine';
import { count, Pairs, tokens } from './pairs';
import { Facts, Fold, Section, TextButton } from './parts';

/** Stores whose models are the user's to remove. */
const OWN = new Set(['hub', 'folder', 'ollama']);

/** The models on this machine, and what of them is in memory. */
export function InstalledSection(): React.JSX.Element {
  const { watch, library, trans } = useDesk();
  const workers = watch.status?.engine?.workers ?? [];
  const models = library.models;
  const known = new Set((models ?? []).map((model) => model.id));
  const others = workers.filter((worker) => !known.has(worker.model));
  return (
    <Section title={trans.__('On this machine')} count={models?.length ?? 0}>
      {library.fault ? (
        <p className="llmspell-note llmspell-mod-error" role="alert">
          {shown(`${library.fault.message} ${library.fault.hint}`, 600)}
        </p>
      ) : null}
      <ul className="llmspell-list">
        {(models ?? []).map((model) => (
          <Row
            key={`${model.backend} ${model.id}`}
            model={model}
            workers={workers.filter((worker) => worker.model === model.id)}
          />
        ))}
        {others.map((worker) => (
          <Stray
            key={`${worker.model} ${String(worker.pid)}`}
            worker={worker}
          />
        ))}
      </ul>
      {models === null && !library.fault ? (
        <p className="llmspell-empty">{trans.__('Looking…')}</p>
      ) : models?.length === 0 && !others.length ? (
        <p className="llmspell-empty">
          {trans.__('No model yet. Pull one from the catalog below.')}
        </p>
      ) : null}
    </Section>
  );
}

function Row(props: {
  model: IModel;
  workers: readonly IWorker[];
}): React.JSX.Element {
  const { trans, actions, insert } = useDesk();
  const [isOpen, setOpen] = React.useState(false);
  const id = React.useId();
  const { model } = props;
  const worker = props.workers[0];
  const spec = specOf(model);
  const name = shown(model.id);
  const isBusy = actions.isPending(spec);
  return (
    <li className="llmspell-row">
      <Fold isOpen={isOpen} setOpen={setOpen} controls={id}>
        <span className="llmspell-name" title={name}>
          {name}
        </span>
        <span
          className={`llmspell-chip${worker?.state === 'ready' ? ' llmspell-mod-on' : ''}`}
        >
          {worker ? stateWord(worker.state, trans) : ''}
        </span>
      </Fold>
      <Facts
        facts={[
          model.size_bytes ? size(model.size_bytes) : null,
          model.quantization && shown(model.quantization, 20),
          model.license && shown(model.license, 40),
        ]}
      />
      {props.workers.map((each) => (
        <Facts key={String(each.pid)} facts={loaded(each, trans)} />
      ))}
      <div id={id} hidden={!isOpen}>
        {isOpen ? <Details model={model} /> : null}
      </div>
      <div className="llmspell-buttons">
        <TextButton
          label={trans.__('Insert')}
          title={trans.__('Insert a cell with %1', name)}
          onClick={() => {
            insert(model);
          }}
        />
        {worker ? (
          <Eject model={spec} />
        ) : (
          <TextButton
            label={trans.__('Load')}
            title={trans.__('Load %1 into memory', name)}
            isDisabled={isBusy}
            onClick={() => void actions.load(spec)}
          />
        )}
        {isOpen ? <More model={model} isLoaded={!!worker} /> : null}
      </div>
    </li>
  );
}

function Eject(props: { model: string }): React.JSX.Element {
  const { trans, actions, confirmUnload } = useDesk();
  return (
    <TextButton
      label={trans.__('Eject')}
      title={trans.__('Eject %1 from memory', shown(props.model))}
      isDisabled={actions.isPending(props.model)}
      onClick={() => {
        void confirmUnload(props.model).then((sure) =>
          sure ? actions.unload(props.model) : undefined,
        );
      }}
    />
  );
}

/** What is done seldom. */
function More(props: { model: IModel; isLoaded: boolean }): React.JSX.Element {
  const { trans, actions, confirmRemove } = useDesk();
  const spec = specOf(props.model);
  const name = shown(props.model.id);
  const isBusy = actions.isPending(spec);
  return (
    <>
      <TextButton
        label={trans.__('Verify')}
        title={trans.__(
          'Compare the files of %1 with what was published',
          name,
        )}
        isDisabled={isBusy}
        onClick={() => void actions.verify(spec)}
      />
      {OWN.has(props.model.store) ? (
        <TextButton
          label={trans.__('Remove')}
          title={
            props.isLoaded
              ? trans.__('Remove %1 from this machine; eject it first', name)
              : trans.__('Remove %1 from this machine', name)
          }
          isDisabled={isBusy || props.isLoaded}
          onClick={() => {
            void confirmRemove(props.model.id).then((sure) =>
              sure ? actions.remove(spec) : undefined,
            );
          }}
        />
      ) : null}
    </>
  );
}

function Details(props: { model: IModel }): React.JSX.Element {
  const { trans } = useDesk();
  const { model } = props;
  const pairs = [
    [trans.__('Kind'), model.architecture],
    [trans.__('Weights'), count(model.parameter_count)],
    [trans.__('Context'), tokens(model.context_length, trans)],
    [trans.__('Format'), model.format],
    [trans.__('Store'), store(model.store, trans)],
    [trans.__('From'), model.repository],
  ];
  return <Pairs pairs={pairs} />;
}

function store(kind: string, trans: TranslationBundle): string {
  switch (kind) {
    case 'bundled':
      return trans.__('came with a package');
    case 'hub':
      return trans.__('your own store');
    case 'shared':
      return trans.__('shared, read only');
    case 'ollama':
      return trans.__("Ollama's");
    default:
      return kind;
  }
}

function stateWord(state: string, trans: TranslationBundle): string {
  switch (state) {
    case 'ready':
      return trans.__('ready');
    case 'loading':
      return trans.__('loading');
    case 'dead':
      return trans.__('has died');
    default:
      return shown(state, 20);
  }
}

function loaded(worker: IWorker, trans: TranslationBundle): (string | null)[] {
  const leaves = worker.leaves_in_seconds;
  return [
    memoryOf(worker) ? trans.__('%1 in memory', size(memoryOf(worker))) : null,
    worker.device ? shown(worker.device, 20) : null,
    worker.pinned
      ? trans.__('stays')
      : leaves === null
        ? null
        : trans.__('leaves in %1', duration(leaves)),
  ];
}

/** A model in memory that no list names, such as one of a path. */
function Stray(props: { worker: IWorker }): React.JSX.Element {
  const { trans } = useDesk();
  const { worker } = props;
  const name = shown(worker.model);
  return (
    <li className="llmspell-row">
      <div className="llmspell-cardHead">
        <span className="llmspell-name" title={name}>
          {name}
        </span>
        <span className="llmspell-chip llmspell-mod-on">
          {stateWord(worker.state, trans)}
        </span>
      </div>
      <Facts facts={loaded(worker, trans)} />
      <div className="llmspell-buttons">
        <Eject model={worker.model} />
      </div>
    </li>
  );
}

import type { IModel, IOffer } from './wire';

/** What jobs, processes and catalogs may call a model of this machine, in lower case. */
export function namesOfModel(model: IModel): string[] {
  const names = [model.id];
  if (model.repository) {
    const suffix =
      model.format === 'GGUF' && model.quantization
        ? `:${model.quantization}`
        : '';
    names.push(model.repository + suffix);
  }
  return names.map((name) => name.toLowerCase());
}

/** What jobs and processes may call a model that can be had, in lower case. */
export function namesOfOffer(offer: IOffer): string[] {
  const usual = offer.quantizations[0]?.toLowerCase();
  return [offer.id, offer.repository ?? ''].filter(Boolean).flatMap((each) => {
    const name = each.toLowerCase();
    const plain = name.replace(/^hf\.co\//, '').replace(/@ollama$/, '');
    const full = usual && `${plain}${plain.includes(':') ? '-' : ':'}${usual}`;
    return [name, plain, ...(full ? [full] : [])];
  });
}

/** A model of this machine as a request names it. */
export function specOf(model: IModel): string {
  return model.backend === 'ollama' ? `${model.id}@ollama` : model.id;
}

/** A model as lists name it, of the way in which it was asked for. */
export function plain(model: string): string {
  return model.replace(/^hf\.co\//, '').replace(/@candle$/, '');
}

import type { IWireError } from './wire';

/** An error of the server, in words, with what to do next. */
export class Fault extends Error {
  constructor(
    message: string,
    readonly hint = '',
    readonly type = '',
  ) {
    super(message);
    this.name = 'Fault';
  }

  /** What the server said; any text where it said nothing that can be read. */
  static of(said: unknown, otherwise: string): Fault {
    if (typeof said === 'string' && said) {
      return new Fault(said);
    }
    const error = said as Partial<IWireError> | null;
    if (typeof error === 'object' && typeof error?.message === 'string') {
      return new Fault(
        error.message || otherwise,
        typeof error.hint === 'string' ? error.hint : '',
        typeof error.type === 'string' ? error.type : '',
      );
    }
    return new Fault(otherwise);
  }

  /** Whatever was thrown, as an error in words. */
  static from(thrown: unknown): Fault {
    return thrown instanceof Fault
      ? thrown
      : new Fault(thrown instanceof Error ? thrown.message : String(thrown));
  }
}

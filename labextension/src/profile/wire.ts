/* What the kernel says, as `magics/page.py` sends it. */

export interface IProfile {
  readonly name: string;
  /** Whom it is for. */
  readonly about: string;
}

export interface IFault {
  readonly message: string;
  /** What to type next; may be empty. */
  readonly hint: string;
}

export interface IState {
  /** Name of the profile in force; empty while the configuration is wrong. */
  readonly profile: string;
  /** The same in one line, or what is wrong. */
  readonly about: string;
  /** All there are; only in the first message. */
  readonly profiles?: readonly IProfile[];
  /** Why a change was refused. */
  readonly error?: IFault;
}

// @ts-check
// What the stream brings. The Go side is view.go, toolview.go and words.go.

/**
 * @typedef {{code: string, message: string}} No why the hub refuses something
 *
 * @typedef {object} ThreadView
 * @property {string} customer
 * @property {boolean} known
 * @property {string} owner
 * @property {string} owner_name
 * @property {number} epoch
 * @property {number} conversation
 * @property {string} state
 * @property {boolean[]} steps
 * @property {number} ack_timeout_s
 *
 * @typedef {object} ChatLine
 * @property {number} id
 * @property {string} at
 * @property {"me"|"bot"|"agent"|"notice"} from
 * @property {string} name
 * @property {string} text
 * @property {string[]=} choices
 *
 * @typedef {object} HeardLine
 * @property {string} key
 * @property {number=} seq
 * @property {"message"|"event"} kind
 * @property {string} from
 * @property {string} who
 * @property {string} text
 * @property {boolean} standby
 * @property {boolean} caught_up
 *
 * @typedef {{id: string, name: string, pass: No|null, offer: No|null}} Target
 *
 * @typedef {object} ToolView
 * @property {string} id
 * @property {string} mode
 * @property {"ok"|"failing"|"disabled"} health
 * @property {string} why
 * @property {boolean} owner
 * @property {string} notice
 * @property {string=} ack_at
 * @property {string=} ack_to
 * @property {HeardLine[]} entries
 * @property {Record<string, No|null>} can
 * @property {Target[]} targets
 *
 * @typedef {object} LogLine
 * @property {number} id
 * @property {string} at
 * @property {number} conversation
 * @property {"message"|"event"|"control"} kind
 * @property {string} name
 * @property {string} receiver
 * @property {string} who
 * @property {string} text
 * @property {string} detail
 * @property {number} epoch
 *
 * @typedef {object} LedgerLine
 * @property {number} id
 * @property {string} at
 * @property {string} op
 * @property {string} who
 * @property {string} from
 * @property {string} from_name
 * @property {string} to
 * @property {string} to_name
 * @property {boolean} granted
 * @property {string} code
 * @property {string} reason
 * @property {number} epoch
 * @property {number} first_answer_ms
 *
 * @typedef {{n: number, status: number, error: string, ms: number, ok: boolean}} Attempt
 *
 * @typedef {object} DeliveryRow
 * @property {string} id
 * @property {string} to
 * @property {string} to_name
 * @property {string} name
 * @property {string} about
 * @property {number=} delivery_seq
 * @property {"queued"|"retrying"|"disabled"|"delivered"|"dead"} state
 * @property {string=} why
 * @property {string=} next_at
 * @property {Attempt[]} attempts
 */

export {};

// Rules that must hold whatever the input: a broken one is our own mistake, never the client's or the operator's.
//
// Nobody catches an InvariantViolation: the process stops and recovery starts from the log.

export class InvariantViolation extends Error {
  constructor(rule: string, left: number, right: number) {
    super(`invariant violated: ${rule} (${left}, ${right})`)
    this.name = 'InvariantViolation'
  }
}

/**
 * Stops the process when a rule does not hold. Costs one comparison when it does.
 * @param holds the rule, evaluated
 * @param rule the rule as it should hold: a constant sentence
 * @param left first number that helps to understand a violation
 * @param right second number that helps to understand a violation
 * @throws InvariantViolation
 */
export function invariant(holds: boolean, rule: string, left = 0, right = 0): asserts holds {
  if (!holds) throw new InvariantViolation(rule, left, right)
}

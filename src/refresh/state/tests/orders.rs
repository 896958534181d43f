//! Ordered attempts.

use super::*;

#[test]
fn order_refreshes_a_healthy_grant() {
    let mut machine = Machine::with_a_grant();
    assert_eq!(machine.order(secs(20)), Ok(()));
    let attempt = machine.attempt(secs(20));
    assert_eq!(attempt.urgency, Urgency::Ordered);
    assert_eq!(machine.order(secs(21)), Ok(()), "it joins the running one");
    machine.fail(attempt, outage(), secs(21));
    let retry = machine.attempt(secs(24));
    assert_eq!(retry.urgency, Urgency::Early, "what follows is not ordered");
}

#[test]
fn orders_are_five_seconds_apart() {
    let mut machine = Machine::with_a_grant();
    assert_eq!(machine.order(millis(100)), Ok(()));
    assert_eq!(machine.order(millis(100)), Ok(()), "it joins the one that is about to start");
    assert_eq!(machine.due(millis(100)), millis(250), "the floor between attempts holds");
    let attempt = machine.attempt(millis(250));
    machine.fail(attempt, outage(), millis(300));
    assert_eq!(machine.order(secs(3)), Err(millis(5_100)));
    assert_eq!(machine.order(millis(5_100)), Ok(()));
}

#[test]
fn order_bypasses_a_refusal_but_not_a_retry_after() {
    let mut machine = Machine::with_a_grant();
    for at in [10, 15] {
        let attempt = machine.attempt_at_order(secs(at));
        machine.fail(attempt, refusal(), secs(at));
    }
    assert_eq!(machine.due(secs(20)), secs(45), "the next probe");
    let _ = machine.attempt_at_order(secs(20));

    let mut machine = Machine::with_a_grant();
    let attempt = machine.attempt_at_order(secs(27));
    let throttled = FetchError::Failed {
        fault: Fault::new(FaultClass::Throttled, "HTTP_STATUS_429"),
        retry_after: Some(secs(20)),
    };
    machine.fail(attempt, throttled, secs(27));
    let until = machine.order(secs(33)).unwrap_err();
    assert!(until >= secs(47) && until <= millis(47_500), "{until:?}");
}

#[test]
fn held_order_does_not_delay_the_next_order() {
    let mut machine = Machine::with_a_grant();
    let attempt = machine.attempt_at_order(secs(20));
    let busy = machine.held(FaultClass::Transient, secs(21));
    machine.fail(attempt, busy, secs(20));
    assert_eq!(machine.order(secs(21)), Ok(()));
}

#[test]
fn held_planned_attempt_does_not_allow_early_orders() {
    let mut machine = Machine::with_a_grant();
    let attempt = machine.attempt_at_order(secs(48));
    machine.fail(attempt, outage(), secs(48));
    let planned = machine.attempt(secs(51));
    assert_ne!(planned.urgency, Urgency::Ordered);
    let busy = machine.held(FaultClass::Transient, secs(52));
    machine.fail(planned, busy, secs(51));
    assert_eq!(machine.order(secs(52)), Err(secs(53)));
}

#[test]
fn clock_jump_does_not_delay_an_order() {
    let mut machine = Machine::with_a_grant();
    for at in [10, 15] {
        let attempt = machine.attempt_at_order(secs(at));
        machine.fail(attempt, refusal(), secs(at));
    }
    assert_eq!(machine.due(secs(20)), secs(45), "the next probe");
    assert_eq!(machine.order(secs(20)), Ok(()));
    machine.state.jumped(machine.at(secs(20)));
    assert_eq!(machine.attempt(secs(20)).urgency, Urgency::Ordered);
}

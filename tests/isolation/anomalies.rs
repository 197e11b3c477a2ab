//! Each anomaly as a story on one thread, told in memory, on disk, flushed and compacted.

use trine_kv::KeyRange;

use crate::common::way::call;
use crate::scene::everywhere;

#[test]
fn dirty_read_staged_writes_are_seen_by_nobody() {
    everywhere(|scene| {
        scene.put("a", "old");
        let mut writer = scene.begin();
        writer.put("a", "staged");
        writer.put("b", "staged");
        assert_eq!(scene.get("a").as_deref(), Some("old"));
        let mut reader = scene.begin();
        assert_eq!(reader.get("a").as_deref(), Some("old"));
        assert_eq!(reader.keys("a", "z"), ["a"]);
        drop(writer);
        assert_eq!(scene.get("b"), None);
        reader.commits();
    });
}

#[test]
fn aborted_read_nothing_of_a_conflicting_transaction_is_ever_seen() {
    everywhere(|scene| {
        scene.put("a", "1");
        let mut loser = scene.begin();
        loser.get("a");
        loser.put("a", "never");
        loser.put("b", "never");
        scene.put("a", "2");
        loser.conflicts();
        assert_eq!(scene.get("a").as_deref(), Some("2"));
        assert_eq!(scene.get("b"), None);
    });
}

#[test]
fn intermediate_read_only_the_last_write_of_a_key_is_ever_seen() {
    everywhere(|scene| {
        let mut writer = scene.begin();
        writer.put("a", "first");
        writer.put("a", "last");
        writer.put("b", "first");
        writer.delete("b");
        let mut before = scene.begin();
        writer.commits();
        assert_eq!(before.get("a"), None);
        assert_eq!(scene.get("a").as_deref(), Some("last"));
        assert_eq!(scene.get("b"), None);
    });
}

#[test]
fn dirty_write_the_last_to_commit_wins_on_every_key() {
    everywhere(|scene| {
        let (mut one, mut two) = (scene.begin(), scene.begin());
        one.put("a", "one");
        two.put("a", "two");
        two.put("b", "two");
        one.put("b", "one");
        two.commits();
        one.commits();
        assert_eq!(scene.get("a").as_deref(), Some("one"));
        assert_eq!(scene.get("b").as_deref(), Some("one"));
    });
}

#[test]
fn non_repeatable_read_a_transaction_reads_the_same_again() {
    everywhere(|scene| {
        scene.put("kept", "1");
        scene.put("removed", "1");
        let mut reader = scene.begin();
        for _ in 0..2 {
            assert_eq!(reader.get("kept").as_deref(), Some("1"));
            assert_eq!(reader.get("removed").as_deref(), Some("1"));
            assert_eq!(reader.get("added"), None);
            assert_eq!(reader.keys("a", "z"), ["kept", "removed"]);
            scene.put("kept", "2");
            scene.delete("removed");
            scene.put("added", "1");
        }
        scene.delete_range("a", "z");
        assert_eq!(reader.get("kept").as_deref(), Some("1"));
        assert_eq!(reader.keys("a", "z"), ["kept", "removed"]);
        // What it saw is past, so it may not pretend to be present.
        reader.conflicts();
    });
}

#[test]
fn own_writes_are_not_read() {
    everywhere(|scene| {
        scene.put("a", "old");
        let mut one = scene.begin();
        one.put("a", "new");
        one.put("b", "new");
        assert_eq!(one.get("a").as_deref(), Some("old"));
        assert_eq!(one.get("b"), None);
        assert_eq!(one.keys("a", "z"), ["a"]);
        one.commits();
        assert_eq!(scene.get("b").as_deref(), Some("new"));
    });
}

#[test]
fn lost_update_the_second_of_two_increments_conflicts() {
    everywhere(|scene| {
        scene.put("counter", "10");
        let (mut one, mut two) = (scene.begin(), scene.begin());
        let read = (one.number("counter"), two.number("counter"));
        one.put("counter", &(read.0 + 1));
        two.put("counter", &(read.1 + 1));
        one.commits();
        two.conflicts();
        let mut again = scene.begin();
        let read = again.number("counter");
        again.put("counter", &(read + 1));
        again.commits();
        assert_eq!(scene.get("counter").as_deref(), Some("12"));
    });
}

#[test]
fn lost_update_of_a_key_that_was_absent_conflicts_too() {
    everywhere(|scene| {
        let (mut one, mut two) = (scene.begin(), scene.begin());
        assert_eq!((one.get("lock"), two.get("lock")), (None, None));
        one.put("lock", "one");
        two.put("lock", "two");
        two.commits();
        one.conflicts();
        assert_eq!(scene.get("lock").as_deref(), Some("two"));
    });
}

#[test]
fn lost_update_is_found_though_the_value_was_put_back() {
    everywhere(|scene| {
        scene.put("a", "1");
        let mut reader = scene.begin();
        reader.get("a");
        reader.put("b", "because a is 1");
        scene.put("a", "2");
        scene.put("a", "1");
        reader.conflicts();
    });
}

#[test]
fn lost_update_by_blind_writes_is_what_blind_writes_mean() {
    everywhere(|scene| {
        let (mut one, mut two) = (scene.begin(), scene.begin());
        one.put("a", "one");
        two.put("a", "two");
        one.commits();
        two.commits();
        assert_eq!(scene.get("a").as_deref(), Some("two"));
    });
}

#[test]
fn read_skew_two_reads_are_of_one_moment() {
    everywhere(|scene| {
        scene.put_all(&[("a", "50"), ("b", "50")]);
        let snapshot = scene.db.snapshot();
        let mut reader = scene.begin();
        assert_eq!(reader.number("a"), 50);
        scene.put_all(&[("a", "10"), ("b", "90")]);
        assert_eq!(reader.number("a") + reader.number("b"), 100);
        let all = KeyRange::all();
        let rows = call!(
            scene.way,
            scene.db,
            range_at / range_at_sync(&snapshot, &all)
        );
        let rows = scene.way.rows(rows.unwrap()).unwrap();
        assert!(rows.iter().all(|(_, value)| value == b"50"));
        reader.conflicts();
    });
}

#[test]
fn write_skew_is_refused_where_both_recorded_what_they_read() {
    everywhere(|scene| {
        // At least one doctor is on call.
        scene.put_all(&[("alice", "1"), ("bob", "1")]);
        let (mut alice, mut bob) = (scene.begin(), scene.begin());
        assert_eq!(alice.number("alice") + alice.number("bob"), 2);
        assert_eq!(bob.number("alice") + bob.number("bob"), 2);
        alice.put("alice", &0);
        bob.put("bob", &0);
        alice.commits();
        bob.conflicts();
        assert_eq!(scene.get("bob").as_deref(), Some("1"));
    });
}

#[test]
fn write_skew_through_ranges_is_refused() {
    everywhere(|scene| {
        scene.put_all(&[("call/alice", "1"), ("call/bob", "1")]);
        let (mut alice, mut bob) = (scene.begin(), scene.begin());
        assert_eq!(alice.keys("call/", "call0").len(), 2);
        assert_eq!(bob.keys("call/", "call0").len(), 2);
        alice.delete("call/alice");
        bob.delete("call/bob");
        bob.commits();
        alice.conflicts();
        assert_eq!(scene.get("call/alice").as_deref(), Some("1"));
    });
}

#[test]
fn write_skew_needs_both_reads_recorded_to_be_refused() {
    everywhere(|scene| {
        scene.put_all(&[("alice", "1"), ("bob", "1")]);
        let (mut alice, mut bob) = (scene.begin(), scene.begin());
        // Reads beside the transaction leave nothing to check: snapshot isolation, no more.
        assert_eq!(scene.get("alice").as_deref(), Some("1"));
        assert_eq!(scene.get("bob").as_deref(), Some("1"));
        alice.put("alice", &0);
        bob.put("bob", &0);
        alice.commits();
        bob.commits();
        assert_eq!(scene.get("alice").as_deref(), Some("0"));
        assert_eq!(scene.get("bob").as_deref(), Some("0"));
    });
}

#[test]
fn phantom_a_new_row_in_a_range_that_was_read_is_a_conflict() {
    everywhere(|scene| {
        scene.put("seat/1", "taken");
        let mut counter = scene.begin();
        assert_eq!(counter.keys("seat/", "seat0").len(), 1);
        counter.put("count", &1);
        scene.put("seat/2", "taken");
        assert_eq!(counter.keys("seat/", "seat0").len(), 1);
        counter.conflicts();
        assert_eq!(scene.get("count"), None);
    });
}

#[test]
fn phantom_a_row_that_came_and_went_is_a_conflict() {
    everywhere(|scene| {
        let mut counter = scene.begin();
        assert!(counter.keys("seat/", "seat0").is_empty());
        scene.put("seat/2", "taken");
        scene.delete("seat/2");
        counter.conflicts();
    });
}

#[test]
fn phantom_of_a_point_read_a_row_that_came_and_went_is_a_conflict() {
    everywhere(|scene| {
        let (mut one, mut two) = (scene.begin(), scene.begin());
        assert_eq!((one.get("a"), two.get("b")), (None, None));
        scene.put("a", "1");
        scene.delete("a");
        scene.put("b", "1");
        scene.delete_range("b", "c");
        one.conflicts();
        two.conflicts();
    });
}

#[test]
fn phantom_of_two_inserts_only_one_is_let_in() {
    everywhere(|scene| {
        let (mut one, mut two) = (scene.begin(), scene.begin());
        assert!(one.keys("room/", "room0").is_empty());
        assert!(two.keys("room/", "room0").is_empty());
        one.put("room/9-10", "one");
        two.put("room/9-11", "two");
        one.commits();
        two.conflicts();
        assert_eq!(scene.begin().keys("room/", "room0"), ["room/9-10"]);
    });
}

#[test]
fn rows_outside_the_range_are_no_phantoms() {
    everywhere(|scene| {
        let mut counter = scene.begin();
        counter.keys("b", "d");
        counter.put("count", &0);
        scene.put("a", "1");
        scene.put("d", "1");
        scene.delete_range("a", "b");
        scene.delete_range("d", "e");
        counter.commits();
    });
}

#[test]
fn circular_information_flow_cannot_be() {
    everywhere(|scene| {
        let (mut one, mut two) = (scene.begin(), scene.begin());
        one.put("a", "one");
        two.put("b", "two");
        assert_eq!(one.get("b"), None);
        assert_eq!(two.get("a"), None);
        one.commits();
        two.conflicts();
    });
}

/// Fekete, O'Neil, O'Neil, "A read-only transaction anomaly under snapshot isolation", 2004.
#[test]
fn read_only_transaction_anomaly_is_refused() {
    everywhere(|scene| {
        scene.put_all(&[("checking", "0"), ("savings", "0")]);
        let mut withdrawal = scene.begin();
        assert_eq!(
            withdrawal.number("checking") + withdrawal.number("savings"),
            0
        );
        let mut deposit = scene.begin();
        let savings = deposit.number("savings");
        deposit.put("savings", &(savings + 20));
        deposit.commits();
        let mut report = scene.begin();
        assert_eq!(
            (report.number("checking"), report.number("savings")),
            (0, 20)
        );
        report.commits();
        // With the overdraft fee it would come before the deposit, which the report has shown.
        withdrawal.put("checking", &-11);
        withdrawal.conflicts();
    });
}

#[test]
fn reads_are_checked_though_nothing_was_written() {
    everywhere(|scene| {
        scene.put("a", "1");
        let (mut fresh, mut stale) = (scene.begin(), scene.begin());
        fresh.get("a");
        stale.get("a");
        fresh.commits();
        scene.put("a", "2");
        stale.conflicts();
    });
}

#[test]
fn an_own_earlier_commit_is_anyone_elses() {
    everywhere(|scene| {
        let mut one = scene.begin();
        one.get("a");
        scene.put("a", "by the same thread");
        one.conflicts();
    });
}

#[test]
fn a_clone_of_a_transaction_is_another_transaction() {
    everywhere(|scene| {
        scene.put("a", "1");
        let mut one = scene.begin();
        one.get("a");
        let mut two = one.twin();
        one.put("a", "one");
        two.put("b", "two");
        one.commits();
        two.conflicts();
        assert_eq!(scene.get("b"), None);
    });
}

//! Which keys and values there are.

use trine_kv::Db;

use crate::fixture::{Place, wherever_rows_lie};

#[test]
fn values_of_every_small_length_come_back() {
    wherever_rows_lie(
        |db| {
            for length in 0..600_usize {
                db.put_sync(length.to_be_bytes(), vec![7; length]).unwrap();
            }
        },
        |db| {
            for length in 0..600_usize {
                let value = db.get_sync(&length.to_be_bytes()).unwrap();
                assert_eq!(value, Some(vec![7; length]));
            }
        },
    );
}

#[test]
fn a_huge_key_and_a_huge_value_survive_flush_and_reopen() {
    let key: Vec<u8> = (0..16 << 20)
        .map(|index: u32| index.to_le_bytes()[1])
        .collect();
    let value: Vec<u8> = (0..64 << 20)
        .map(|index: u32| index.to_le_bytes()[2])
        .collect();
    let place = Place::new();
    let check = |db: &Db| {
        assert!(db.get_sync(&key).unwrap().as_deref() == Some(b"small"));
        assert!(db.get_sync(b"small").unwrap().as_ref() == Some(&value));
    };
    let db = place.open();
    db.put_sync(key.clone(), "small").unwrap();
    db.put_sync("small", value.clone()).unwrap();
    check(&db);
    db.close_sync();
    let db = place.open();
    check(&db);
    db.flush_sync().unwrap();
    check(&db);
    db.close_sync();
    check(&place.open());
}

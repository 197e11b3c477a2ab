//! Order of keys; what a read sees of commits before and after it.

use crate::common::way::call;
use crate::fixture::everywhere_both_ways;

#[test]
fn a_commit_that_returned_is_visible_on_every_handle() {
    everywhere_both_ways(|way, db| {
        let other = db.clone();
        let bucket = db.default_bucket_sync().unwrap();
        call!(way, db, put / put_sync("key", "value")).unwrap();
        assert_eq!(
            call!(way, other, get / get_sync(b"key")).unwrap(),
            Some(b"value".to_vec())
        );
        assert_eq!(
            call!(way, bucket, get / get_sync(b"key")).unwrap(),
            Some(b"value".to_vec())
        );
    });
}

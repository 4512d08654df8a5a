//! What was measured of a router's table is described, and keeps what is promised.

#[path = "netns/schema.rs"]
mod schema;

#[test]
fn the_committed_figures_of_a_routers_table_keep_the_limits() {
    let text = include_str!("../docs/figures/router.json");
    let document: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(schema::check(&document), Ok(()));
    let number = |pointer: &str| document.pointer(pointer).unwrap().as_f64().unwrap();
    assert!(number("/table/bytes_per_membership") <= number("/table/limit_bytes_per_membership"));
    assert!(number("/table/records_per_s") >= number("/table/wanted_records_per_s"));
    assert!(number("/hello/verify_ns") < number("/hello/limit_ns"));
    for refresh in document["hello"]["refresh"].as_array().unwrap() {
        assert!(
            refresh["ns"].as_f64().unwrap() < number("/hello/limit_ns"),
            "{refresh}"
        );
    }
}

//! What each benchmark has found, in one report: bars, and tables of everything that is no cost of a packet.

use serde_json::{Value, json};

/// Adds a part's JSON. That of the forwarder's own is a report; of the others come rows of tables and bars.
pub fn add(report: &mut Value, name: &str, part: Value) {
    if report.is_null() {
        *report = part;
        return;
    }
    let (bars, table) = match name {
        "change" => change(&part),
        "failover" => failover(&part),
        "load" => load(&part),
        "look" => look(&part),
        _ => return merge(report, part),
    };
    extend(report, "bars", bars);
    extend(report, "tables", vec![table]);
}

/// Says that a part has found nothing.
pub fn missing(report: &mut Value, name: &str) {
    if report.is_null() {
        *report = json!({});
    }
    let why = format!("{name}: it failed");
    extend(report, "missing", vec![why.into()]);
}

fn merge(report: &mut Value, part: Value) {
    let Value::Object(part) = part else { return };
    for (key, value) in part {
        match value {
            Value::Array(more) => extend(report, &key, more),
            _ if report.get(&key).is_none() => report[&key] = value,
            // The configurations of both.
            Value::String(hash) if key == "config" => {
                let both = format!("{}{hash}", report[&key].as_str().unwrap_or_default());
                report[&key] = both.into();
            }
            _ if key == "load" && value.as_f64() > report[&key].as_f64() => report[&key] = value,
            _ => (),
        }
    }
}

fn extend(report: &mut Value, key: &str, more: Vec<Value>) {
    match report.get_mut(key).and_then(Value::as_array_mut) {
        Some(list) => list.extend(more),
        None => report[key] = more.into(),
    }
}

fn bar(name: String, value: f64, bound: f64, holds: bool) -> Value {
    json!({ "name": name, "value": value, "mad": 0.0, "bound": bound, "holds": holds, "certain": true })
}

fn row(name: &str, value: f64, mad: f64, more: &[f64]) -> Value {
    json!({ "name": name, "value": { "median": value, "mad": mad }, "more": more })
}

fn table(name: &str, about: &str, columns: &[&str], rows: Vec<Value>) -> Value {
    json!({ "name": name, "about": about, "columns": columns, "rows": rows })
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or(0.0)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn change(part: &Value) -> (Vec<Value>, Value) {
    let (mut bars, mut rows) = (Vec::new(), Vec::new());
    for each in list(part, "changes") {
        let of = |key| number(each, key);
        let bad = of("lost") + of("broken_connections") + of("duplicated");
        let name = text(each, "change");
        let whole = each["counters_continuous"] == true;
        let what = format!("{name}: datagrams and connections lost, and counters go on");
        bars.push(bar(what, bad, 0.0, bad == 0.0 && whole));
        let more = ["rounds", "datagrams", "connections", "seconds"].map(of);
        rows.push(row(name, bad, 0.0, &more));
    }
    let about = "The running forwarder is changed, restarted, killed, upgraded and rolled back under load: datagrams that were lost or came twice, and connections that broke.";
    let columns = ["lost", "rounds", "datagrams", "connections", "s"];
    (bars, table("changes under load", about, &columns, rows))
}

fn failover(part: &Value) -> (Vec<Value>, Value) {
    let (mut bars, mut rows) = (Vec::new(), Vec::new());
    for each in list(part, "faults") {
        let of = |key| number(each, key);
        let name = format!("{}, {}", text(each, "fault"), text(each, "settings"));
        let holds = each["holds"] == true;
        let what = format!("pair: {name}: {}", text(each, "counts"));
        bars.push(bar(what, of("value"), of("bound"), holds));
        let gap = &each["gap_ms"];
        let more = [
            number(gap, "max"),
            of("lost"),
            of("resets") + of("broken"),
            of("double_owner_rounds"),
            of("rounds"),
        ];
        rows.push(row(&name, number(gap, "median"), of("gap_mad_ms"), &more));
    }
    let calm = part["false_failovers"].as_object();
    for each in calm.into_iter().flat_map(|all| all.values()) {
        for window in each.as_array().into_iter().flatten() {
            let (name, at) = (text(window, "trouble"), text(window, "settings"));
            let holds = window["holds"] == true;
            let what = format!("pair: {name}, {at}: false failovers");
            bars.push(bar(what, number(window, "false_failovers"), 0.0, holds));
        }
    }
    let about = "The active node of a pair is broken in every way, with 1,000 datagrams a second and 400 connections: how long nobody answers. Few rounds: `bench failover` alone does twenty of each.";
    let columns = [
        "gap, ms",
        "longest, ms",
        "datagrams lost",
        "connections broken",
        "rounds with two owners",
        "rounds",
    ];
    (bars, table("a pair", about, &columns, rows))
}

fn load(part: &Value) -> (Vec<Value>, Value) {
    let rows = list(part, "steps").map(|step| {
        let more = [number(step, "longest_ms"), number(step, "rounds")];
        row(
            text(step, "name"),
            number(step, "median_ms"),
            number(step, "mad_ms"),
            &more,
        )
    });
    let lost = number(part, "lost") + number(part, "broken_connections");
    let what =
        "4,096 virtual servers over 64 pools of 64: datagrams and connections lost meanwhile";
    let about = "4,096 virtual servers over 64 pools of 64 backends that are checked, under load: each by the command line, with the start of its process.";
    let table = table(
        "large and under load",
        about,
        &["ms", "longest, ms", "rounds"],
        rows.collect(),
    );
    (vec![bar(what.to_owned(), lost, 0.0, lost == 0.0)], table)
}

fn look(part: &Value) -> (Vec<Value>, Value) {
    let rows = list(part, "looks").map(|each| {
        let of = |key| number(each, key);
        let more = [
            of("round_trip_us"),
            of("datagrams_per_second"),
            of("look_ms"),
            of("lost"),
        ];
        row(text(each, "look"), of("program_ns"), 0.0, &more)
    });
    let about = "What packets notice while somebody looks at 950,000 flows: time in the XDP programs, and round trips of datagrams.";
    let columns = [
        "ns a packet",
        "round trip, µs",
        "datagrams/s",
        "a look, ms",
        "lost",
    ];
    (
        Vec::new(),
        table("looking at flows", about, &columns, rows.collect()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_become_one_report() {
        let mut report = Value::Null;
        add(
            &mut report,
            "prog",
            json!({ "version": "1", "bars": [{ "name": "a" }] }),
        );
        add(
            &mut report,
            "wire",
            json!({ "version": "1", "bars": [{ "name": "b" }], "chains": [1] }),
        );
        let rows = [
            json!({ "fault": "kill", "settings": "50ms x 3", "value": 80.0, "bound": 250.0, "holds": true }),
        ];
        add(&mut report, "failover", json!({ "faults": rows }));
        missing(&mut report, "look");
        let names: Vec<_> = list(&report, "bars").map(|bar| text(bar, "name")).collect();
        assert_eq!(names, ["a", "b", "pair: kill, 50ms x 3: "]);
        assert_eq!(report["bars"][2]["value"], 80.0);
        assert_eq!(report["tables"][0]["rows"][0]["name"], "kill, 50ms x 3");
        assert_eq!(
            (&report["chains"], &report["missing"][0]),
            (&json!([1]), &json!("look: it failed"))
        );
    }
}

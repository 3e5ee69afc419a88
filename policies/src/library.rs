//! The policy library that ships: the `*.rego` files beside this crate's manifest.

use crate::engine::Module;

/// The library's modules, but for `result.rego`: who wants results looked at adds it. On empty data they deny everything
/// that clients ask.
#[must_use]
pub fn modules() -> Vec<Module> {
    [
        ("main.rego", include_str!("../main.rego")),
        ("access.rego", include_str!("../access.rego")),
        ("agents.rego", include_str!("../agents.rego")),
        ("arguments.rego", include_str!("../arguments.rego")),
        ("budgets.rego", include_str!("../budgets.rego")),
        (
            "classification.rego",
            include_str!("../classification.rego"),
        ),
        ("duties.rego", include_str!("../duties.rego")),
        ("environments.rego", include_str!("../environments.rego")),
        ("hours.rego", include_str!("../hours.rego")),
        ("labels.rego", include_str!("../labels.rego")),
        ("questions.rego", include_str!("../questions.rego")),
        ("read_only.rego", include_str!("../read_only.rego")),
        ("risk.rego", include_str!("../risk.rego")),
        ("task.rego", include_str!("../task.rego")),
        ("exchange.rego", include_str!("../exchange.rego")),
        ("registration.rego", include_str!("../registration.rego")),
    ]
    .map(|(path, text)| Module {
        path: path.to_owned(),
        text: text.to_owned(),
    })
    .to_vec()
}

/// An example of the data that the library reads (JSON): the ledger of the demo.
#[must_use]
pub fn example_data() -> &'static str {
    include_str!("../data.json")
}

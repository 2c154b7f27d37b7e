//! The keys of a section as a table of the documentation.

use super::section::{Presence, Section};
use super::value::Shape;

impl Section {
    /// A Markdown table of the keys: name, type, default, meaning, example.
    pub fn markdown(&self) -> String {
        let mut table =
            String::from("| Key | Type | Default | Meaning | Example |\n|---|---|---|---|---|\n");
        for key in &self.keys {
            let default = match key.presence {
                Presence::Required => "required".to_owned(),
                Presence::Optional(words) => words.to_owned(),
                Presence::Default("{}") => "the defaults of its keys".to_owned(),
                Presence::Default("[]") => "none".to_owned(),
                Presence::Default(toml) => format!("`{toml}`"),
            };
            let name = key.name;
            let (kind, example) = match &key.shape {
                Shape::Table(section) => (format!("section `[{}]`", section.title), String::new()),
                Shape::Tables(section) => {
                    (format!("sections `[[{}]]`", section.title), String::new())
                }
                shape => (shape.to_string(), format!("`{name} = {}`", key.example)),
            };
            let about = &key.about;
            table += &format!("| `{name}` | {kind} | {default} | {about} | {example} |\n");
        }
        table
    }
}

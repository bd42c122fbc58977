//! The map at the head of a file: its modules from the top down, as rows of a table or as points
//! of a list.
//!
//! ```text
//! //! | [`core`] | the server itself |
//! //! - [`core::session`], `core::token`: one client; what an event carries
//! ```

use std::cmp::Ordering;

use super::Files;
use super::tree::{Module, Tree};

/// Modules from the top down. One that is named twice stands where it is named last: a folder at
/// its head, then its own file among the others.
struct Map {
    /// The module at whose head it stands.
    of: Module,
    modules: Vec<Module>,
}

impl Map {
    fn read(of: &Module, text: &str, tree: &Tree) -> Map {
        let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
        let names = lines.flat_map(|line| names_in(line.trim()));
        let modules = names.filter_map(|name| {
            let words: Vec<String> = name.split("::").map(str::to_owned).collect();
            let module = tree.module_of(&[&of[..], &words].concat());
            (module.len() > of.len() && module.starts_with(of)).then_some(module)
        });
        Map {
            of: of.clone(),
            modules: modules.collect(),
        }
    }

    /// The entry to which a module belongs: its own, else that of the folder it is in.
    fn place(&self, module: &Module) -> Option<usize> {
        let entries = self.modules.iter().enumerate();
        let above = entries.filter(|(_, entry)| module.starts_with(entry));
        let (place, _) = above.max_by_key(|(place, entry)| (entry.len(), *place))?;
        Some(place)
    }
}

/// The names in backticks in the first cell of a row, or before the colon of a point.
fn names_in(line: &str) -> Vec<&str> {
    let head = if let Some(row) = line.strip_prefix('|') {
        row.split('|').next()
    } else if let Some(point) = line.strip_prefix("- ") {
        point.split(": ").next()
    } else {
        None
    };
    let head = head.unwrap_or_default();
    head.split('`').skip(1).step_by(2).collect()
}

/// Where `a` stands as to `b`: `Less` is above. `None` where no map says it. An error names a
/// module that a map has forgotten.
pub fn compare(
    a: &Module,
    b: &Module,
    tree: &Tree,
    sources: &Files,
) -> Result<Option<Ordering>, String> {
    let mut of = Module::new();
    loop {
        if a == b {
            return Ok(Some(Ordering::Equal));
        }
        let file = &tree.files[&of];
        let map = Map::read(&of, &sources[file], tree);
        if map.modules.is_empty() && !of.is_empty() {
            return Ok(None);
        }
        // The head of the folder stands above all that is in it, unless the map above says else.
        if *a == map.of {
            return Ok(Some(Ordering::Less));
        }
        if *b == map.of {
            return Ok(Some(Ordering::Greater));
        }
        let place = |module: &Module| {
            let forgotten = || format!("{} is not on the map in {file}", tree.files[module]);
            map.place(module).ok_or_else(forgotten)
        };
        let (a_place, b_place) = (place(a)?, place(b)?);
        if a_place != b_place {
            return Ok(Some(a_place.cmp(&b_place)));
        }
        of = map.modules[a_place].clone();
    }
}

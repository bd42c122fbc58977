//! Which checks to run.

use anyhow::{Result, bail};
use harness::check::{Check, Tier};
use harness::checks;
use harness::stage::Stage;

use crate::arguments::Arguments;

pub struct Selection {
    stage: Option<Stage>,
    tiers: Vec<Tier>,
    only: Vec<String>,
}

impl Selection {
    pub fn new(arguments: &Arguments) -> Result<Self> {
        let selection = Self {
            stage: arguments.stage,
            tiers: arguments.tier.iter().copied().map(Tier::from).collect(),
            only: arguments.only.clone(),
        };
        let stages = || {
            Stage::ALL
                .into_iter()
                .filter(|stage| arguments.stage.is_none_or(|wanted| wanted == *stage))
        };
        for wanted in &selection.only {
            let one = Self {
                only: vec![wanted.clone()],
                tiers: selection.tiers.clone(),
                ..selection
            };
            if stages().all(|stage| one.of(stage).next().is_none()) {
                let whose = arguments
                    .stage
                    .map_or(String::new(), |stage| format!(" of {stage}"));
                bail!("no check{whose} has `{wanted}` in its id; --list shows all ids");
            }
        }
        Ok(selection)
    }

    /// The selected checks of a stage, tier `core` first.
    pub fn of(&self, stage: Stage) -> impl Iterator<Item = &'static Check> + '_ {
        let of_tier = move |tier| checks::of(stage).filter(move |check| check.tier == tier);
        Tier::ALL
            .into_iter()
            .flat_map(of_tier)
            .filter(|check| self.includes(check))
    }

    fn includes(&self, check: &Check) -> bool {
        // A complete id selects that check alone, not others that contain it.
        let exact = |only: &String| checks::find(only).is_some();
        let asked_for = |only: &String| match exact(only) {
            true => check.id() == *only,
            false => check.id().contains(only.as_str()),
        };
        (self.tiers.is_empty() || self.tiers.contains(&check.tier))
            && (self.only.is_empty() || self.only.iter().any(asked_for))
    }

    pub fn stage(&self) -> Option<Stage> {
        self.stage
    }

    /// Whether `--only` selected the checks.
    pub fn is_by_name(&self) -> bool {
        !self.only.is_empty()
    }
}

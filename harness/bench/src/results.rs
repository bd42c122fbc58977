//! Medians, ratios, goals.

use crate::contender::Who;
use crate::contest::{Contest, Entry};
use crate::workload::{Against, Goal, Metric};

/// The middle of the sorted values, or the mean of the two in the middle. `None` without values.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        1 => Some(sorted[middle]),
        _ => Some((sorted.get(middle.checked_sub(1)?)? + sorted[middle]) / 2.0),
    }
}

/// Whether a contender has reached a goal.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub metric: Metric,
    /// The contender's figure divided by the reference's. If the goal is a fixed figure, the
    /// contender's figure itself.
    pub reached: f64,
    pub goal: f64,
    /// The name of the reference, unless the goal is a fixed figure.
    pub reference: Option<String>,
    pub met: bool,
}

impl Entry {
    pub fn median(&self, metric: Metric) -> Option<f64> {
        let values = self
            .rounds
            .iter()
            .filter_map(|figures| figures.get(&metric));
        median(&values.copied().collect::<Vec<_>>())
    }
}

impl Contest {
    pub fn entry(&self, who: Who) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.who == who)
    }

    /// The best peer in a metric, and its figure.
    pub fn best_peer(&self, metric: Metric) -> Option<(Who, f64)> {
        let peers = self.entries.iter().filter(|entry| entry.who.is_peer());
        let figures = peers.filter_map(|entry| Some((entry.who, entry.median(metric)?)));
        let better = |a: &(Who, f64), b: &(Who, f64)| match metric.more_is_better() {
            true => a.1.total_cmp(&b.1),
            false => b.1.total_cmp(&a.1),
        };
        figures.max_by(better)
    }

    /// What a contender's figure is compared with: the name of the reference, and its figure.
    fn reference(
        &self,
        entry: &Entry,
        metric: Metric,
        against: Against,
    ) -> Option<(Option<String>, f64)> {
        match against {
            Against::Figure => Some((None, 1.0)),
            Against::One(who) => {
                let figure = self.entry(who)?.median(metric)?;
                Some((Some(who.name()), figure))
            }
            Against::BestPeer => {
                let (who, figure) = self.best_peer(metric)?;
                Some((Some(who.name()), figure))
            }
            Against::Own(metric) => {
                let figure = entry.median(metric)?;
                Some((Some("itself without idle clients".to_owned()), figure))
            }
        }
    }

    /// A contender's figure, divided by that of the workload's reference.
    pub fn ratio(&self, entry: &Entry, metric: Metric) -> Option<f64> {
        let (_, figure) = self.reference(entry, metric, self.workload.reference)?;
        Some(entry.median(metric)? / figure).filter(|ratio| ratio.is_finite())
    }

    /// The verdicts on one contender, for each of its goals whose reference was measured. A
    /// contender that failed a round has met no goal.
    pub fn verdicts(&self, entry: &Entry) -> Vec<Verdict> {
        let goals = self.workload.goals.iter();
        let own = goals.filter(|goal| goal.who.contains(&entry.who));
        let verdict = |goal: &Goal| {
            let (reference, figure) = self.reference(entry, goal.metric, goal.against)?;
            let reached = entry.median(goal.metric)? / figure;
            let reaches = match goal.metric.more_is_better() {
                true => reached >= goal.factor,
                false => reached <= goal.factor,
            };
            Some(Verdict {
                metric: goal.metric,
                reached,
                goal: goal.factor,
                reference,
                met: reaches && entry.failure.is_none(),
            })
        };
        own.filter_map(verdict).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::bulk::Direction;
    use crate::measure::Figures;
    use crate::workload::{Load, Workload};

    const GOALS: &[Goal] = &[
        Goal {
            who: &[Who::Proxy],
            metric: Metric::Rate,
            factor: 1.0,
            against: Against::BestPeer,
        },
        Goal {
            who: &[Who::Proxy],
            metric: Metric::Cpu,
            factor: 0.9,
            against: Against::One(Who::Nginx),
        },
        Goal {
            who: &[Who::Proxy],
            metric: Metric::Refused,
            factor: 0.0,
            against: Against::Figure,
        },
    ];

    fn entry(who: Who, rate: &[f64], cpu: f64) -> Entry {
        let figures = |&rate: &f64| {
            Figures::from([
                (Metric::Rate, rate),
                (Metric::Cpu, cpu),
                (Metric::Refused, 0.0),
            ])
        };
        Entry {
            who,
            rounds: rate.iter().map(figures).collect(),
            failure: None,
        }
    }

    fn contest(entries: Vec<Entry>) -> Contest {
        let load = Load::Bulk {
            connections: 1,
            direction: Direction::Up,
        };
        let workload = Workload {
            id: "W4",
            title: "",
            load,
            who: &[],
            reference: Against::BestPeer,
            goals: GOALS,
        };
        Contest { workload, entries }
    }

    #[test]
    fn the_median_is_the_value_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[9.0, 1.0, 2.0, 4.0]), Some(3.0));
    }

    #[test]
    fn goals_are_judged_by_medians_in_the_right_direction() {
        let contest = contest(vec![
            entry(Who::Proxy, &[10.0, 12.0, 99.0], 8.5),
            entry(Who::Nginx, &[1.0, 8.0, 9.0], 10.0),
            entry(Who::Haproxy, &[10.0], 20.0),
        ]);
        assert_eq!(contest.best_peer(Metric::Rate), Some((Who::Haproxy, 10.0)));
        assert_eq!(contest.best_peer(Metric::Cpu), Some((Who::Nginx, 10.0)));
        let verdicts = contest.verdicts(&contest.entries[0]);
        let reached: Vec<f64> = verdicts.iter().map(|verdict| verdict.reached).collect();
        assert_eq!(reached, [1.2, 0.85, 0.0]);
        assert!(verdicts.iter().all(|verdict| verdict.met));
        assert_eq!(contest.ratio(&contest.entries[1], Metric::Rate), Some(0.8));
        assert_eq!(contest.verdicts(&contest.entries[1]), []); // no goals of its own
    }

    #[test]
    fn a_goal_that_is_missed_is_not_met() {
        let contest = contest(vec![
            entry(Who::Proxy, &[9.9], 9.1),
            entry(Who::Nginx, &[10.0], 10.0),
        ]);
        let verdicts = contest.verdicts(&contest.entries[0]);
        let met: Vec<bool> = verdicts.iter().map(|verdict| verdict.met).collect();
        assert_eq!(met, [false, false, true]);
    }

    #[test]
    fn a_contender_that_failed_meets_no_goal_and_a_goal_without_its_reference_is_not_judged() {
        let mut proxy = entry(Who::Proxy, &[10.0], 1.0);
        proxy.failure = Some("12 of 20 bytes were lost".to_owned());
        let contest = contest(vec![proxy]);
        let verdicts = contest.verdicts(&contest.entries[0]);
        assert_eq!(verdicts.len(), 1); // the fixed figure
        assert!(!verdicts[0].met);
    }
}

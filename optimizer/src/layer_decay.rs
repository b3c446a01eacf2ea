//! Layer-wise decay of the learning rate, as BEiT has it (Bao et al. 2021): the lower a layer, the less it is changed.

use checkpointing::Parameter;

/// The towers of a module, found by the paths of their blocks.
pub(crate) struct Towers(Vec<Tower>);

/// What holds a list of blocks.
struct Tower {
    /// The path of what holds them; none where it is the module itself.
    prefix: String,
    blocks: usize,
    /// The first parameter of a block, among all. What the tower holds before it is the embedding, after it the head.
    first: usize,
}

impl Towers {
    /// The towers of parameters in their order.
    pub(crate) fn of(parameters: &[Parameter]) -> Self {
        let mut towers: Vec<Tower> = Vec::new();
        for (order, parameter) in parameters.iter().enumerate() {
            let Some((prefix, block)) = block_of(&parameter.path) else {
                continue;
            };
            match towers.iter_mut().find(|tower| tower.prefix == prefix) {
                Some(tower) => tower.blocks = tower.blocks.max(block + 1),
                None => towers.push(Tower {
                    prefix: prefix.to_owned(),
                    blocks: block + 1,
                    first: order,
                }),
            }
        }
        Self(towers)
    }

    /// `decay^d` for a parameter `d` layers below the head of its tower; 1 for one of no tower. The parameter is the
    /// `order`-th of all.
    pub(crate) fn factor(&self, order: usize, path: &str, decay: f64) -> f64 {
        let Some(tower) = self.0.iter().find(|tower| tower.holds(path)) else {
            return 1.0;
        };
        let depth = match block_of(path) {
            Some((_, block)) => tower.blocks - block,
            None if order < tower.first => tower.blocks + 1,
            None => 0,
        };
        decay.powi(i32::try_from(depth).unwrap_or(i32::MAX))
    }
}

impl Tower {
    fn holds(&self, path: &str) -> bool {
        let rest = path.strip_prefix(&self.prefix);
        rest.is_some_and(|rest| self.prefix.is_empty() || rest.starts_with('.'))
    }
}

/// What stands before `blocks.N` in a path, without the dot, and N.
fn block_of(path: &str) -> Option<(&str, usize)> {
    const NAME: &str = "blocks.";
    for (place, _) in path.match_indices(NAME) {
        let number = path[place + NAME.len()..].split('.').next();
        let block = number.and_then(|number| number.parse().ok());
        match (path[..place].strip_suffix('.'), block) {
            (Some(prefix), Some(block)) => return Some((prefix, block)),
            (None, Some(block)) if place == 0 => return Some(("", block)),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use burn::module::ParamId;

    use super::*;

    fn factors(paths: &[&str], decay: f64) -> Vec<f64> {
        let parameters: Vec<Parameter> = paths
            .iter()
            .map(|path| Parameter {
                path: (*path).to_owned(),
                id: ParamId::new(),
                trains: true,
                shape: vec![1],
            })
            .collect();
        let towers = Towers::of(&parameters);
        let factor = |(order, path): (usize, &&str)| towers.factor(order, path, decay);
        paths.iter().enumerate().map(factor).collect()
    }

    #[test]
    fn the_rate_falls_from_the_head_to_the_embedding_of_each_tower() {
        let paths = [
            "vision.embed.patch.weight",
            "vision.blocks.0.mlp.weight",
            "vision.blocks.1.mlp.weight",
            "vision.head.norm.gamma",
            "text.embed.tokens",
            "text.blocks.0.mlp.weight",
            "text.head.projection",
            "logit_scale",
        ];
        let want = [0.125, 0.25, 0.5, 1.0, 0.25, 0.5, 1.0, 1.0];
        assert_eq!(factors(&paths, 0.5), want);
    }

    #[test]
    fn a_module_can_be_a_tower_itself_and_names_are_whole() {
        let paths = ["embed", "blocks.0.w", "blocks.1.w", "head"];
        assert_eq!(factors(&paths, 0.5), [0.125, 0.25, 0.5, 1.0]);
        // `subblocks` and `blocks.last` number nothing.
        let paths = ["a.subblocks.0.w", "a.blocks.last.w"];
        assert_eq!(factors(&paths, 0.5), [1.0, 1.0]);
        // `ab` is not in `a`.
        assert_eq!(factors(&["a.blocks.0.w", "ab.w"], 0.5), [0.5, 1.0]);
    }

    #[test]
    fn frozen_layers_count() {
        assert_eq!(factors(&["t.blocks.11.w", "t.blocks.2.w"], 0.5)[0], 0.5);
        assert_eq!(
            factors(&["t.blocks.11.w", "t.blocks.2.w"], 0.5)[1],
            0.5f64.powi(10)
        );
    }
}

//! The recipe as a user meets it: overlays, messages, and what is written back.

use super::*;

const WHOLE: &str = r#"
name = "a"

[[data.train]]
kind = "table"
path = "train.csv"

[tokens]
kind = "bpe"
vocab = 4096

[model]
family = "clip"
preset = "tiny"

[train]
epochs = 2
batch = 8
"#;

fn parse(text: &str, set: &[&str]) -> Result<Recipe, RecipeError> {
    let set = set.iter().map(|text| (*text).to_owned()).collect();
    let overrides = Overrides {
        set,
        ..Overrides::default()
    };
    let origin = Origin::new("recipe a.toml", Path::new("/recipes"));
    Recipe::parse(text, &origin, &overrides).map(|(recipe, _)| recipe)
}

fn message(text: &str, set: &[&str]) -> String {
    parse(text, set).unwrap_err().to_string()
}

#[test]
fn every_embedded_recipe_is_possible() {
    let overrides = Overrides {
        set: Vec::new(),
        train: vec!["train.csv".into()],
        val: vec!["val.csv".into()],
    };
    for name in embedded::names(embedded::RECIPES) {
        let mut overrides = overrides.clone();
        if name == "emoji" {
            overrides.set.push("tokens.path=vocabulary.gz".to_owned());
        }
        Recipe::load(Path::new(name), &overrides).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn the_default_recipe_needs_nothing() {
    let recipe = Recipe::load(Path::new("default"), &Overrides::default()).unwrap();
    assert!(matches!(&recipe.data.train[..], [Source::Shapes(_)]));
}

#[test]
fn a_split_of_the_shapes_without_pictures_is_refused_where_it_is_used() {
    let overrides = |set: &str| Overrides {
        set: vec![set.to_owned()],
        ..Overrides::default()
    };
    let load = |set| Recipe::load(Path::new("default"), &overrides(set));
    let message = load("data.shapes.val=0").unwrap_err().to_string();
    assert_eq!(
        message,
        "--set data.shapes.val=0: `data.shapes.val` is 0; give 1 or more"
    );
    assert!(parse(WHOLE, &["data.shapes.val=0"]).is_ok());
}

#[test]
fn every_named_size_is_possible() {
    for name in embedded::names(embedded::SIZES) {
        let set = format!("model.preset={name}");
        let recipe = parse(WHOLE, &[&set]).unwrap_or_else(|error| panic!("{name}: {error}"));
        let model = &recipe.model;
        let starts = (model.vision_start().is_some(), model.text_start().is_some());
        assert_eq!(starts, (true, true), "{name}");
    }
}

#[test]
fn a_resolved_recipe_reads_back_the_same_from_anywhere() {
    let set = [
        "preset=tiny",
        "image.augmentation.kind=random-resized-crop",
        "train.schedule={kind=\"constant-cooldown\", steps=3, power=1, end_lr=0}",
        "train.checkpointing=every(2)",
        "train.optimizer=stable-adamw",
        "train.layer_decay=0.8",
        "train.groups=[{pattern=\"*.bias\", weight_decay=0.1}, {pattern=\"text.*\", rate=0.5}]",
        "model.lock=[\"image\"]",
        "eval.zero_shot={column=\"label\", classes=[\"a\", \"b\"], templates=[\"a {}\"]}",
    ];
    let recipe = parse(WHOLE, &set).unwrap();
    let text = recipe.to_toml().unwrap();
    let elsewhere = Origin::new("recipe b.toml", Path::new("/elsewhere"));
    let (again, _) = Recipe::parse(&text, &elsewhere, &Overrides::default()).unwrap();
    assert_eq!(again.to_toml().unwrap(), text);
    assert_eq!(again.train, recipe.train);
    assert_eq!((again.data, again.image), (recipe.data, recipe.image));
}

#[test]
fn the_file_overlays_its_preset_and_the_command_line_overlays_both() {
    let text = "preset = \"tiny\"\nname = \"a\"\n[[data.train]]\nkind = \"shapes\"\nsplit = \"train\"\n\
                [train]\nepochs = 1\nbatch = 32\n";
    let preset = parse(text, &[]).unwrap();
    assert_eq!((preset.train.batch, preset.train.lr), (32, 1e-3));
    let set = parse(text, &["train.batch=16", "train.batch=64", "train.lr=1"]).unwrap();
    assert_eq!((set.train.batch, set.train.lr), (64, 1.0));
}

#[test]
fn sizes_named_above_win_over_sizes_spelled_out_below() {
    let text = WHOLE.replace("[train]", "[model.vision]\nd_model = 64\n[train]");
    let width = |recipe: Recipe| recipe.model.vision.unwrap().d_model;
    assert_eq!(width(parse(&text, &[]).unwrap()), 64);
    assert_eq!(
        width(parse(&text, &["model.preset=vit-b-32"]).unwrap()),
        768
    );
    assert_eq!(
        width(parse(&text, &["model.preset=vit-b-32", "model.vision.d_model=96"]).unwrap()),
        96
    );
}

#[test]
fn steps_on_the_command_line_replace_the_epochs_of_the_file() {
    let recipe = parse(WHOLE, &["train.steps=7"]).unwrap();
    assert_eq!((recipe.train.epochs, recipe.train.steps), (None, Some(7)));
}

#[test]
fn a_pretrained_folder_replaces_the_sizes_of_the_file() {
    let without = WHOLE.replace("[tokens]\nkind = \"bpe\"\nvocab = 4096\n", "");
    let recipe = parse(&without, &["model.pretrained=/models/clip"]).unwrap();
    assert!(matches!(recipe.tokens, Tokens::Pretrained(_)));
    let learnt = parse(WHOLE, &["model.pretrained=/models/clip"]).unwrap_err();
    assert_eq!(learnt.key(), Some("tokens.kind"));
    assert!(
        matches!(recipe.model.vision_start(), Some(Start::Pretrained(folder)) if folder.as_path() == Path::new("/models/clip"))
    );
}

#[test]
fn paths_start_from_the_recipes_folder_and_those_of_the_command_line_from_the_current_one() {
    let path = |recipe: &Recipe, i: usize| match &recipe.data.train[i] {
        Source::Table(table) => table.path.as_path().to_owned(),
        other => panic!("not a table: {other:?}"),
    };
    assert_eq!(
        path(&parse(WHOLE, &[]).unwrap(), 0),
        Path::new("/recipes/train.csv")
    );
    let here = std::env::current_dir().unwrap();
    assert_eq!(
        path(&parse(WHOLE, &["data.train.0.path=../b.csv"]).unwrap(), 0),
        here.join("../b.csv")
    );
    let overrides = Overrides {
        train: vec!["x.csv".into(), "/y.csv".into()],
        ..Overrides::default()
    };
    let origin = Origin::new("recipe a.toml", Path::new("/recipes"));
    let (recipe, _) = Recipe::parse(WHOLE, &origin, &overrides).unwrap();
    assert_eq!(
        (path(&recipe, 0), path(&recipe, 1)),
        (here.join("x.csv"), "/y.csv".into())
    );
}

#[test]
fn an_unknown_key_is_named_with_its_file_its_line_and_the_nearest_known_one() {
    let text = WHOLE.replace("batch = 8", "wamup = 8");
    assert_eq!(
        message(&text, &[]),
        "recipe a.toml:18: unknown key `train.wamup`; did you mean `train.warmup`?"
    );
    assert_eq!(
        message(WHOLE, &["model.vison.d_model=3"]),
        "--set model.vison.d_model=3: unknown key `model.vison`; did you mean `model.vision`?"
    );
    assert!(message(WHOLE, &["sed=3"]).ends_with("unknown key `sed`; did you mean `seed`?"));
    assert!(message(WHOLE, &["train.zzz=3"]).contains("known: epochs, steps, batch"));
}

#[test]
fn an_unknown_key_within_a_list_or_a_choice_has_its_full_path() {
    let in_list = WHOLE.replace("path = ", "pth = ");
    assert_eq!(
        message(&in_list, &[]),
        "recipe a.toml:6: unknown key `data.train.0.pth`; did you mean `data.train.0.path`?"
    );
    assert!(
        message(WHOLE, &["image.augmentation={kind=\"none\", scale=1}"])
            .contains("`image.augmentation.scale`")
    );
}

#[test]
fn a_wrong_type_names_the_key_the_line_and_what_was_expected() {
    let text = WHOLE.replace("batch = 8", "batch = \"8\"");
    assert_eq!(
        message(&text, &[]),
        "recipe a.toml:18: `train.batch` must be a whole number, 0 or more, found string \"8\""
    );
    assert!(
        message(WHOLE, &["train.batch=-1"])
            .contains("`train.batch` must be a whole number, 0 or more")
    );
    assert!(message(WHOLE, &["train=3"]).contains("`train` must be a table, found integer `3`"));
    assert!(
        message(WHOLE, &["train.betas=[0.9]"])
            .contains("`train.betas` must be an array of length 2")
    );
    assert!(
        message(WHOLE, &["tokens.vocab=1e3"]).contains("`tokens.vocab` must be a whole number")
    );
}

#[test]
fn an_unknown_choice_names_the_nearest_one() {
    let text = WHOLE.replace("\"bpe\"", "\"bpee\"");
    assert_eq!(
        message(&text, &[]),
        "recipe a.toml:9: `tokens.kind` cannot be \"bpee\"; did you mean `bpe`?"
    );
    assert!(message(WHOLE, &["model.family=blip"]).contains("`model.family` cannot be \"blip\""));
    assert!(
        message(WHOLE, &["preset=tinny"])
            .contains("`preset` cannot be \"tinny\"; did you mean `tiny`?")
    );
    assert!(message(WHOLE, &["model.preset=vit-s32"]).contains("did you mean `vit-s-32`?"));
    let policy = message(WHOLE, &["train.checkpointing=every(0)"]);
    assert!(
        policy.contains("must be \"store-all\", \"every-cut\", \"every(n)\" or \"nested(n,m)\""),
        "{policy}"
    );
    assert!(policy.ends_with("found \"every(0)\""), "{policy}");
}

#[test]
fn a_missing_key_says_how_to_give_it() {
    let text = WHOLE.replace("vocab = 4096", "");
    assert_eq!(
        message(&text, &[]),
        "recipe a.toml:8: `tokens.vocab` is missing; add it, or give --set tokens.vocab=..."
    );
    assert!(message(WHOLE, &["tokens.kind=clip"]).contains("`tokens.path` is missing"));
    assert!(message("name = \"a\"", &[]).contains("`data` is missing"));
}

#[test]
fn impossible_values_name_the_key_the_line_and_the_remedy() {
    let expected = [
        ("train.batch=0", "`train.batch` is 0; give 2 or more"),
        (
            "train.micro_batch=3",
            "`train.micro_batch` is 3, which does not divide `train.batch` 8",
        ),
        (
            "model.vision.image_size=46",
            "not a multiple of `model.vision.patch_size` 8; give 40 or 48",
        ),
        (
            "model.text.n_heads=5",
            "which does not divide `model.text.d_model` 128",
        ),
        (
            "model.lock=[\"image\", \"text\"]",
            "`model.lock` locks both towers",
        ),
        (
            "data.train=[]",
            "`data.train` is empty; name a table with --train TABLE",
        ),
        ("train.lr=0", "`train.lr` is 0; give a number above 0"),
        ("train.lr=nan", "`train.lr` is NaN"),
        (
            "train.layer_decay=1.5",
            "`train.layer_decay` is 1.5; give a number above 0, and up to 1",
        ),
        (
            "train.groups=[{pattern=\"a.**\"}]",
            "`train.groups.0.pattern` is \"a.**\"",
        ),
        (
            "train.groups=[{pattern=\"*\", rate=-1}]",
            "`train.groups.0.rate` is -1; give 0 or more",
        ),
        (
            "train.optimizer=adam",
            "`train.optimizer` cannot be \"adam\"; did you mean `adamw`?",
        ),
        (
            "train.dropout=1",
            "`train.dropout` is 1; give 0 or more, and less than 1",
        ),
        ("train.epochs=0", "`train.epochs` is 0; give 1 or more"),
        (
            "data.table.separator=dot",
            "`data.table.separator` cannot be \"dot\"; known: auto, tab, comma, semicolon",
        ),
        ("eval.recall=[1, 0]", "`eval.recall.1` is 0"),
        (
            "image.augmentation={kind=\"random-resized-crop\", scale=[0.9, 0.5]}",
            "`image.augmentation.scale` is [0.9, 0.5]",
        ),
    ];
    for (set, part) in expected {
        let message = message(WHOLE, &[set]);
        assert!(
            message.starts_with(&format!("--set {set}: ")) && message.contains(part),
            "{message}"
        );
    }
    let text = WHOLE.replace("batch = 8", "batch = 0");
    assert!(message(&text, &[]).starts_with("recipe a.toml:18: `train.batch` is 0"));
}

#[test]
fn a_warmup_longer_than_the_run_is_refused_as_soon_as_the_length_is_known() {
    let message = message(WHOLE, &["train.steps=5", "train.warmup=6"]);
    assert!(
        message.contains("`train.warmup` is 6 steps, more than the 5 of the whole run"),
        "{message}"
    );
    let recipe = parse(WHOLE, &["train.warmup=6"]).unwrap();
    assert_eq!(recipe.total_steps(31).unwrap(), 6);
    assert!(
        recipe
            .total_steps(23)
            .unwrap_err()
            .to_string()
            .contains("`train.warmup` is 6 steps")
    );
    assert!(
        recipe
            .total_steps(7)
            .unwrap_err()
            .to_string()
            .contains("more than the 7 training samples")
    );
}

#[test]
fn both_lengths_or_both_starts_in_one_file_are_refused() {
    let text = WHOLE.replace("batch = 8", "steps = 8");
    assert!(message(&text, &[]).contains("`train` has both `epochs` and `steps`"));
    let text = WHOLE.replace(
        "preset = \"tiny\"",
        "preset = \"tiny\"\npretrained = \"clip\"",
    );
    assert!(message(&text, &[]).contains("`model` has both `pretrained` and sizes"));
    let text = WHOLE.replace("preset = \"tiny\"", "embed_dim = 8\npretrained = \"clip\"");
    assert!(message(&text, &[]).contains("`model` has both `pretrained` and sizes"));
    let text = WHOLE.replace("preset = \"tiny\"", "embed_dim = 8");
    assert!(message(&text, &[]).contains("`model` lacks sizes; give `embed_dim`"));
}

#[test]
fn what_comes_with_the_program_gives_way_to_a_folder_of_weights_and_what_the_user_wrote_does_not() {
    let load = |set: &[&str]| {
        let overrides = Overrides {
            set: set.iter().map(|text| (*text).to_owned()).collect(),
            ..Overrides::default()
        };
        Recipe::load(Path::new("emoji"), &overrides)
    };
    let train = [
        "data.train=[{kind=\"shapes\", split=\"train\"}]",
        "model.pretrained=w",
    ];
    let recipe = load(&train).unwrap();
    assert!(matches!(recipe.tokens, Tokens::Pretrained(_)));
    assert_eq!(
        (recipe.model.family, recipe.image.preprocessing),
        (None, None)
    );
    let said = load(
        &[
            &train[..],
            &["image.preprocessing=vit", "model.family=siglip"],
        ]
        .concat(),
    );
    let said = said.unwrap();
    assert_eq!(said.model.family, Some(Family::Siglip));
    assert_eq!(said.image.preprocessing, Some(Preprocessing::Vit));
}

#[test]
fn all_faults_are_told_at_once_and_none_twice() {
    let text = WHOLE.replace("batch = 8", "batch = 0\nlr = -1\nwamup = 3");
    let error = parse(&text, &["run.keep_last=x", "eval.recall=[]"]).unwrap_err();
    let RecipeError::Several { errors } = &error else {
        panic!("{error}");
    };
    let keys: Vec<_> = errors.iter().filter_map(RecipeError::key).collect();
    // What stands beside a misspelt key may follow from it.
    assert_eq!(keys, ["run.keep_last", "train.wamup", "eval.recall"]);
    let error = parse(&text.replace("wamup = 3", ""), &[]).unwrap_err();
    let RecipeError::Several { errors } = &error else {
        panic!("{error}");
    };
    let keys: Vec<_> = errors.iter().filter_map(RecipeError::key).collect();
    assert_eq!(keys, ["train.batch", "train.lr"]);
}

#[test]
fn an_option_without_a_value_is_refused() {
    for set in ["train.lr", "=3", "train..lr=3"] {
        assert!(
            message(WHOLE, &[set]).contains("expected KEY=VALUE"),
            "{set}"
        );
    }
}

#[test]
fn a_key_of_very_many_parts_is_refused_and_does_not_exhaust_the_stack() {
    let set = format!("a{}=1", ".a".repeat(60_000));
    assert_eq!(
        message(WHOLE, &[&set]),
        "--set: unknown key `a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a`; no key has more than 16 parts"
    );
}

#[test]
fn a_file_that_does_not_exist_is_named_with_the_recipes_that_do() {
    let error = Recipe::load(Path::new("nowhere.toml"), &Overrides::default()).unwrap_err();
    let message = error.to_string();
    assert!(
        message.starts_with("recipe nowhere.toml: ")
            && message
                .ends_with("one of default, emoji, photos, towers/vision, towers/text, join, lora")
    );
}

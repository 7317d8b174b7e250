from pipeline.evaluating.definitions import GROUPS, MEANINGS, flatten, present

NOTES = {"note", "not_measured"}  # whose value is the text
METRICS = {
    "test": {"negative_elbo": 154.8608, "images": 10000},
    "latents": {"kl_per_latent": [3.0, 0.0, 1.5], "active_share": 0.6667, "note": "latents not in use: 1"},
    "samples": {"prior": {"recall": 0.125}},
    "new": {"thing": -0.123456},
}


def test_every_figure_has_its_name_and_its_unit() -> None:
    shown = {figure.key: (figure.meaning.name, figure.value) for figure in flatten(METRICS) if not figure.bars}
    assert shown == {
        "test.negative_elbo": ("Negative ELBO", "154.86 nats"),
        "test.images": ("Images", "10,000"),
        "latents.active_share": ("Share of active latents", "66.7%"),
        "latents.note": ("Note", "latents not in use: 1"),
        "samples.prior.recall": ("Recall, prior", "12.5%"),
        "new.thing": ("Thing", "\N{MINUS SIGN}0.1235"),  # not known here, and shown nevertheless
    }


def test_lists_become_bars_as_shares_of_the_largest() -> None:
    (figure,) = (figure for figure in flatten(METRICS) if figure.bars)
    assert figure.bars == (("3.000", 1.0), ("0.000", 0.0), ("1.500", 0.5))


def test_all_latents_at_the_prior_have_bars_without_length() -> None:
    (figure,) = flatten({"latents": {"kl_per_latent": [0.0, 0.0]}})
    assert figure.bars == (("0.000", 0.0), ("0.000", 0.0))


def test_every_definition_is_a_sentence() -> None:
    assert all(meaning.definition.endswith(".") for name, meaning in MEANINGS.items() if name not in NOTES)


def test_definitions_are_in_the_words_of_the_data() -> None:
    for noun in ("digit", "letter"):
        figures = flatten(dict.fromkeys(MEANINGS, 1), noun)
        words = [figure.meaning.definition for figure in figures] + [
            present(g, {}, noun).meaning.definition for g in GROUPS
        ]
        assert sum(f"{noun}s" in text for text in words) > 10
        assert not any("{" in text or ("digit" in text and noun != "digit") for text in words)


def test_figures_of_several_things_are_a_table_and_others_stand_alone() -> None:
    rows = {"floor": {"recall": 0.75, "edge_ratio": 1.0}, "prior": {"recall": 0.5, "edge_ratio": 0.25}}
    group = present("samples", {"images": 600, **rows}, "letter")
    assert [figure.key for figure in group.figures] == ["samples.images"]
    assert [column.name for column in group.columns] == ["Recall", "Edge ratio"]
    assert "test letters" in group.columns[0].definition
    shown = [(name, [(cell.key, cell.value) for cell in cells]) for name, cells in group.rows]
    assert shown == [
        ("Floor", [("samples.floor.recall", "75.0%"), ("samples.floor.edge_ratio", "1.00")]),
        ("Prior", [("samples.prior.recall", "50.0%"), ("samples.prior.edge_ratio", "0.25")]),
    ]

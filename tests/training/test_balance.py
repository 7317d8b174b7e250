import pytest

from pipeline.errors import TrainingError
from pipeline.training.balance import LASTING, WINDOW, Balance
from tests.training.runs import DEFAULTS

HEALTHY = {
    "accuracy_real": 0.7, "accuracy_fake": 0.7, "logit_real": 0.5, "logit_fake": -0.5, "gradient_penalty": 3.0,
    "cross_entropy": 80.0, "feature_distance": 2000.0, "kl": 0.0,
}  # fmt: skip


def watch(windows: list[dict[str, float]], most: float = 0.95) -> None:
    """An epoch of so many windows, each with the same figures in all of its steps, as averages from its first step."""
    params = DEFAULTS.sharpen.model_copy(update={"largest_accuracy": most, "discriminator_rate": 0.001})
    balance = Balance(params, cross_entropy=75.0)
    balance.on_epoch_begin(0)
    sums, done = dict.fromkeys(HEALTHY, 0.0), 0
    for window in windows:
        for _ in range(WINDOW):
            sums = {name: total + window.get(name, HEALTHY[name]) for name, total in sums.items()}
            done += 1
            balance.on_train_batch_end(done - 1, {name: total / done for name, total in sums.items()})


WON = {"accuracy_real": 0.99, "accuracy_fake": 0.97}


@pytest.mark.parametrize(
    "windows",
    [
        [{}] * 10,
        [WON] * (LASTING - 1) + [{}] + [WON] * (LASTING - 1),  # as at the start
        [{"accuracy_real": 1.0, "accuracy_fake": 0.5}] * 5,  # it calls nearly all of them real
        [{"logit_real": 9.0, "cross_entropy": 149.0}] * 5,
    ],
)
def test_a_balanced_run_goes_on(windows: list[dict[str, float]]) -> None:
    watch(windows)


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        (
            [{}] + [WON] * LASTING,
            r"the discriminator tells 98\.0% of the images right in epoch 1, step 400, expected at most 95%, so that "
            r"the decoder learns little from it; lower sharpen\.discriminator_rate \(now 0\.001\), raise ",
        ),
        ([{}, {"logit_fake": -11.0}], r"logits reach 11\.0 in epoch 1, step 200, expected at most 10; raise sharpen\."),
        (
            [{}, {}, {"cross_entropy": 151.0}],
            r"is 151\.0 nats in epoch 1, step 300, more than twice the 75\.0 of the start; raise sharpen\.",
        ),
        ([{}, {"feature_distance": float("nan")}], r"not finite in epoch 1, step 101 \(.*nan.*\); lower sharpen\."),
    ],
)
def test_a_run_that_leads_nowhere_is_stopped(windows: list[dict[str, float]], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        watch(windows)


def test_a_simple_decoder_may_be_told_from_real_images_always() -> None:
    watch([WON] * 10, most=1.0)

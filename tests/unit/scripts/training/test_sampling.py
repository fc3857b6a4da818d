from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.training.sampling import Draw, Draws, balanced_weights


def test_an_epoch_without_weights_draws_each_image_once() -> None:
    assert sorted(draw.index for draw in Draws(5)) == [0, 1, 2, 3, 4]


def test_the_same_epoch_gives_the_same_draws() -> None:
    first, second = Draws(5, seed=3), Draws(5, seed=3)
    first.set_epoch(2)
    second.set_epoch(2)

    assert list(first) == list(first) == list(second)


@pytest.mark.parametrize(("seed", "epoch"), [(0, 1), (1, 0)])
def test_another_epoch_or_seed_gives_other_draws(seed: int, epoch: int) -> None:
    draws = Draws(20, seed=seed)
    draws.set_epoch(epoch)

    assert list(draws) != list(Draws(20))


def test_no_two_crops_share_a_seed() -> None:
    draws = Draws(100, weights=[1.0] + [0.0] * 99)

    assert len({draw.seed for draw in draws}) == 100


@given(count=st.integers(1, 30), world_size=st.integers(1, 5), epoch=st.integers(0, 3), weighted=st.booleans())
def test_ranks_interleave_the_draws_of_one_process(count: int, world_size: int, epoch: int, weighted: bool) -> None:
    weights = [index + 1.0 for index in range(count)] if weighted else None

    def epoch_draws(rank: int, ranks: int) -> list[Draw]:
        draws = Draws(count, weights=weights, rank=rank, world_size=ranks)
        draws.set_epoch(epoch)
        assert len(draws) == len(list(draws))
        return list(draws)

    rounds = zip(*(epoch_draws(rank, world_size) for rank in range(world_size)), strict=True)

    interleaved = [draw for round_draws in rounds for draw in round_draws]
    assert interleaved == epoch_draws(0, 1)[: count - count % world_size]


def test_skipping_omits_the_first_draws_of_an_epoch() -> None:
    draws = Draws(10, rank=1, world_size=2)
    full_epoch = list(draws)

    draws.skip(3)

    assert list(draws) == full_epoch[3:]
    assert len(draws) == 5


def test_a_new_epoch_starts_at_its_beginning() -> None:
    draws = Draws(4)
    draws.skip(3)

    draws.set_epoch(1)

    assert len(list(draws)) == 4


def test_images_are_drawn_by_their_weights() -> None:
    counts = Counter(draw.index for draw in Draws(3000, weights=[2.0, 0.0, 1.0] + [0.0] * 2997))

    assert set(counts) == {0, 2}
    assert counts[0] / counts[2] == pytest.approx(2, rel=0.15)


def test_there_must_be_one_weight_per_image() -> None:
    with pytest.raises(ValueError, match="2 weights for 3 images"):
        Draws(3, weights=[1.0, 1.0])


def test_an_empty_data_set_is_refused() -> None:
    with pytest.raises(ValueError, match="0 images"):
        Draws(0)


def test_weights_that_are_all_zero_are_refused() -> None:
    with pytest.raises(ValueError, match=r"from 0\.0 to 0\.0"):
        Draws(2, weights=[0.0, 0.0])


def test_a_rank_outside_the_world_is_refused() -> None:
    with pytest.raises(ValueError, match="rank 2"):
        Draws(3, rank=2, world_size=2)


def test_an_image_is_weighted_by_its_rarest_class() -> None:
    present = [{0, 1, 2}, {0, 1}, {0, 1}, {0, 1}, {0}]

    # Class 2 is in one image, class 1 in four; the last image is only background.
    assert balanced_weights(present) == pytest.approx([1, 0.5, 0.5, 0.5, 5**-0.5])


def test_without_a_background_every_class_counts() -> None:
    assert balanced_weights([{0}, {1}, {1}, {1, 2}], background=None) == pytest.approx([1, 3**-0.5, 3**-0.5, 1])


def test_a_power_of_zero_weights_images_equally() -> None:
    assert balanced_weights([{0, 1}, {0, 2}, {0, 2}, {0}], power=0) == [1, 1, 1, 1]

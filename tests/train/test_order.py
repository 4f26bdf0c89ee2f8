"""The stream of samples: every row once an epoch, in an order that depends on the seed alone."""

from tasks.train.order import SampleOrder


def stream(order, updates):
    return [place for number in updates for place in order.update(number)]


def test_every_row_comes_once_an_epoch():
    seen = stream(SampleOrder(rows=30, samples_per_update=6, seed=1, stage=0), range(10))
    assert sorted(seen[:30]) == sorted(seen[30:]) == list(range(30))
    assert seen[:30] != seen[30:]


def test_an_update_can_be_asked_for_alone_in_any_order():
    order = {"rows": 7, "samples_per_update": 20, "seed": 1, "stage": 2}
    forwards = [SampleOrder(**order).update(number) for number in range(6)]
    again = SampleOrder(**order)
    assert [again.update(number) for number in reversed(range(6))] == forwards[::-1]


def test_seed_and_stage_make_other_orders():
    orders = [stream(SampleOrder(30, 6, seed, stage), range(5)) for seed, stage in ((1, 0), (2, 0), (1, 1))]
    assert len({tuple(order) for order in orders}) == 3

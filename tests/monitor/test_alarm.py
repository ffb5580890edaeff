from jetseg.monitor.alarm import Alarm, Bound, Window

ABOVE = Bound(limit=10, recovery=8, above=True)


def changes(alarm, values, step=1.0):
    return [alarm.update(value, index * step) for index, value in enumerate(values)]


def test_a_short_excursion_raises_nothing():
    alarm = Alarm(ABOVE, raise_after_s=3)
    assert changes(alarm, [5, 20, 20, 20, 5, 20, 20, 20, 5]) == [None] * 9
    assert not alarm.active
    assert alarm.count == 0


def test_between_recovery_and_limit_nothing_changes():
    alarm = Alarm(ABOVE)
    assert changes(alarm, [9, 11, 9, 11, 9, 8, 9]) == [None, "raised", None, None, None, "ended", None]
    assert alarm.count == 1


def test_a_lower_bound_works_the_other_way_round():
    alarm = Alarm(Bound(limit=3, recovery=4, above=False))
    assert changes(alarm, [5, 2, 3.5, 4]) == [None, "raised", None, "ended"]


def test_a_missing_value_starts_the_waiting_anew():
    alarm = Alarm(ABOVE, raise_after_s=2)
    assert changes(alarm, [20, 20, None, 20, 20, 20]) == [None, None, None, None, None, "raised"]


def test_window_waits_until_it_is_full_and_ignores_outliers():
    window = Window(seconds=1.0, least=5)
    found = []
    for index in range(30):
        window.add(1000.0 if index % 7 == 3 else 1.0, index / 10)
        found.append(window.value())
    assert found[:9] == [None] * 9
    assert set(found[9:]) == {1.0}


def test_window_of_a_slow_engine_looks_further_back():
    window = Window(seconds=1.0, least=5)
    for index in range(9):
        window.add(float(index), index * 0.5)
    assert window.value() == 6.0


def test_window_starts_anew_after_a_gap():
    window = Window(seconds=1.0, least=5)
    for index in range(20):
        window.add(1.0, index / 10)
    assert window.value() == 1.0
    window.add(1.0, 60.0)
    assert window.value() is None

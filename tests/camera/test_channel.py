import threading

import pytest

from jetseg.camera.channel import Channel, ChannelClosed


def test_latest_replaces_the_oldest_and_counts_it():
    channel = Channel(1, latest=True)
    assert all(channel.put(number) for number in range(5))
    assert channel.get() == 4
    assert channel.dropped == 4


def test_every_item_arrives_in_order_while_put_waits_for_space():
    channel = Channel(2, latest=False)
    producer = threading.Thread(target=lambda: [channel.put(n) for n in range(500)] and channel.close())
    producer.start()
    assert list(channel) == list(range(500))
    producer.join(5)
    assert channel.dropped == 0


def test_close_lets_the_rest_be_taken_and_refuses_more():
    channel = Channel(2, latest=False)
    channel.put("a")
    channel.close()
    assert not channel.put("b")
    assert channel.abandoned == 1
    assert channel.get() == "a"
    with pytest.raises(ChannelClosed):
        channel.get()


def test_abandon_frees_a_waiting_put_and_counts_everything_lost():
    channel = Channel(1, latest=False)
    channel.put("a")
    outcome = []
    producer = threading.Thread(target=lambda: outcome.append(channel.put("b")))
    producer.start()
    channel.abandon()
    producer.join(5)
    assert outcome == [False]
    assert (channel.dropped, channel.abandoned) == (0, 2)


def test_get_gives_up_after_its_timeout():
    with pytest.raises(TimeoutError):
        Channel(1, latest=True).get(timeout=0.01)

"""A worker's channel to Redis makes its client once, where kombu would make one for each message."""

from kombu import Connection

from holdfast.celery.redis_broker import keep_client


def test_channel_uses_one_client_as_long_as_it_has_its_connections(holdfast):
    with holdfast.celery.connection_for_read() as connection:
        channel = connection.channel()
        keep_client(channel)

        with channel.conn_or_acquire() as one, channel.conn_or_acquire() as other:
            assert one is other
            assert one.ping()

        channel._disconnect_pools()
        with channel.conn_or_acquire() as later:
            assert later is not one
            assert later.ping()


def test_channel_to_another_broker_is_left_alone():
    with Connection("memory://") as connection:
        channel = connection.channel()
        before = vars(channel).copy()

        keep_client(channel)

        assert vars(channel) == before

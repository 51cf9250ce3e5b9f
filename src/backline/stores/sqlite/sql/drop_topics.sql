-- drop_topics: forget what a subscription listened to.
--   in     :subscription
--   out    nothing
--   locks  the writer's turn
--   index  topic_subscription
delete from topic where subscription = :subscription

-- add_topics: note what a subscription listens to.
--   in     :subscription; :topics JSON, a row a pattern: [pattern, whether it is a name]
--   out    nothing
--   locks  the writer's turn
--   index  the primary key of topic
insert into topic (pattern, subscription, exact)
select topic.value ->> 0, :subscription, topic.value ->> 1
from json_each(:topics) as topic
where true
on conflict do nothing

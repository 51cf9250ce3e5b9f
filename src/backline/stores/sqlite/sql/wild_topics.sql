-- wild_topics: every pattern that is no name, and who listens to it.
--   in     nothing
--   out    a row a pattern and subscription: the pattern as a blob, the subscription
--   locks  none
--   index  topic_wild
select cast(pattern as blob), subscription from topic indexed by topic_wild where exact = 0

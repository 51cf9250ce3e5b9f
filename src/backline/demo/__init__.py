"""The main job: a photo service, run and measured before your eyes (`backline demo`)."""

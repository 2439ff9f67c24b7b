/* Fork counter: tells what this process has made from what a fork has copied. */
#ifndef KAFKAPP_FORKS_H
#define KAFKAPP_FORKS_H

/* How many forks led to this process. */
extern int kp_forks;

/* Count from now on. Returns an errno, or 0. */
int kp_watch_forks(void);

#endif

// Beside a run: writes 4 KiB and fdatasync each 20 ms, sleeps 2 ms at a time on each core, and prints for each second
// the longest of both in ms, steal and iowait of all cores in ms, and the stall times of /proc/pressure in ms.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <fcntl.h>
#include <pthread.h>
#include <time.h>
#include <sched.h>
#include <stdatomic.h>
static double now(void){struct timespec t;clock_gettime(CLOCK_MONOTONIC,&t);return t.tv_sec*1e3+t.tv_nsec/1e6;}
static double wall(void){struct timespec t;clock_gettime(CLOCK_REALTIME,&t);return t.tv_sec+t.tv_nsec/1e9;}
static void nap(double ms){struct timespec t={ms/1e3,(long)(ms*1e6)%1000000000};nanosleep(&t,0);}
static _Atomic double disk_max,cpu_max[64],fifo_max[64];static char*path;
static void up(_Atomic double*m,double v){double o=atomic_load(m);while(v>o&&!atomic_compare_exchange_weak(m,&o,v));}
static void*disk(void*x){char*b;posix_memalign((void**)&b,4096,4096);memset(b,7,4096);int f=open(path,O_CREAT|O_RDWR|O_DIRECT,0600);
 for(int i=0;i<256;i++)pwrite(f,b,4096,i*4096);fdatasync(f);
 for(int i=0;;i=(i+1)%256){double s=now();pwrite(f,b,4096,i*4096);fdatasync(f);up(&disk_max,now()-s);nap(20);}}
static void*core(void*x){long c=(long)x;int fifo=c>=64;c%=64;cpu_set_t s;CPU_ZERO(&s);CPU_SET(c,&s);sched_setaffinity(0,sizeof s,&s);
 if(fifo){struct sched_param p={1};sched_setscheduler(0,SCHED_FIFO,&p);}
 for(;;){double s=now();nap(2);up(fifo?&fifo_max[c]:&cpu_max[c],now()-s-2);}}
static double psi(const char*f,const char*k){char b[512]={0};FILE*h=fopen(f,"r");if(!h)return 0;double v=0;while(fgets(b,sizeof b,h))if(!strncmp(b,k,4)){char*t=strstr(b,"total=");if(t)v=atof(t+6)/1e3;}fclose(h);return v;}
int main(int c,char**v){path=v[1];int secs=atoi(v[2]),n=sysconf(_SC_NPROCESSORS_ONLN);pthread_t t;pthread_create(&t,0,disk,0);
 for(long i=0;i<n;i++){pthread_create(&t,0,core,(void*)i);pthread_create(&t,0,core,(void*)(i+64));}
 double st0=0,io0=0,pi=psi("/proc/pressure/io","some"),pc=psi("/proc/pressure/cpu","some");
 for(int s=0;s<=secs;s++){FILE*h=fopen("/proc/stat","r");long a[8];fscanf(h,"cpu %ld %ld %ld %ld %ld %ld %ld %ld",a,a+1,a+2,a+3,a+4,a+5,a+6,a+7);fclose(h);
  double st=a[7]*10,io=a[4]*10,pi1=psi("/proc/pressure/io","some"),pc1=psi("/proc/pressure/cpu","some");
  if(s){printf("{\"at\":%.3f,\"disk_ms\":%.2f,\"steal_ms\":%.0f,\"iowait_ms\":%.0f,\"io_stall_ms\":%.0f,\"cpu_stall_ms\":%.0f",wall(),atomic_exchange(&disk_max,0),st-st0,io-io0,pi1-pi,pc1-pc);
   for(int i=0;i<n;i++)printf(",\"late%d_ms\":%.2f,\"late%d_fifo_ms\":%.2f",i,atomic_exchange(&cpu_max[i],0),i,atomic_exchange(&fifo_max[i],0));puts("}");fflush(stdout);}
  st0=st;io0=io;pi=pi1;pc=pc1;sleep(1);}
 unlink(path);}

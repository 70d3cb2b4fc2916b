// Numbers as people read them: three digits are enough to see what goes on.

export function count(n) {
  if (n === undefined || n === null || Number.isNaN(n)) return '–';
  return Math.round(n).toLocaleString('en-US');
}

export function rate(n) {
  if (n === undefined || n === null) return '–';
  if (n >= 1e6) return digits(n / 1e6) + ' M';
  if (n >= 1e5) return digits(n / 1e3) + ' k';
  return n >= 10 || n === 0 ? count(n) : n.toFixed(1);
}

const digits = (n) => n >= 100 ? n.toFixed(0) : n >= 10 ? n.toFixed(1) : n.toFixed(2);

export function bytes(n) {
  if (n === undefined || n === null) return '–';
  let unit = -1;
  while (n >= 1000 && unit < 5) {
    n /= 1024;
    unit++;
  }
  return unit < 0 ? Math.round(n) + ' B' : digits(n) + ' ' + 'KMGTPE'[unit] + 'iB';
}

export function micros(us) {
  if (us === undefined || us === null) return '–';
  if (us < 1) return us > 0 ? '< 1 µs' : '0';
  if (us < 1000) return (Number.isInteger(us) ? us : digits(us)) + ' µs';
  if (us < 1e6) return digits(us / 1e3) + ' ms';
  return digits(us / 1e6) + ' s';
}

export function time(seconds) {
  if (seconds === undefined || seconds === null) return '–';
  if (seconds < 10) return seconds.toFixed(1) + ' s';
  if (seconds < 120) return Math.floor(seconds) + ' s';
  const minutes = Math.floor(seconds / 60), hours = Math.floor(minutes / 60), days = Math.floor(hours / 24);
  if (days > 1) return `${days} d ${hours % 24} h`;
  if (hours > 0) return `${hours} h ${minutes % 60} min`;
  return `${minutes} min ${Math.floor(seconds % 60)} s`;
}

// percent has a digit more near nothing and near all, where it tells.
export const percent = (share) => {
  const near = share < 0.1 || share > 0.9 && share < 1;
  return (near ? Math.floor(1000 * share + 1e-6) / 10 : 100 * share).toFixed(near ? 1 : 0) + ' %';
};

export const plural = (n, name) => `${count(n)} ${name}${n === 1 ? '' : 's'}`;
